#!/usr/bin/env python3
"""Golden run of BoxInst's losses on SOLOv2 at small widths: targets made of boxes, losses, all gradients.

usage: make_boxinst.py DETECTRON2_SOURCE ADELAIDET_SOURCE OUT_DIR
The network is make_solov2.py's, with the weights and pictures of OUT_DIR/solov2.safetensors. AdelaiDet has the losses on the
masks of CondInst; here its own functions for boxes as masks, colours, projections and pairs are given the masks of its SOLOv2,
at the cells that its SOLOv2 chooses for the boxes as masks.
Made with aim-uofa/AdelaiDet 3672122 and facebookresearch/detectron2 02b5c4e, without their compiled extensions.
"""
import os
import sys
import types

DETECTRON2, ADELAIDET, OUT = sys.argv[1:4]
sys.argv.insert(3, "")  # make_solov2.py reads FreeSOLO's source there, for what is not needed here


def hollow(name, **members):
    """A package without its __init__, which wants compiled parts."""
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(ADELAIDET, *name.split("."))]
    package.__dict__.update(members)
    sys.modules[name] = package


for package in ("adet", "adet.utils", "adet.modeling"):
    hollow(package)
hollow("adet.layers", conv_with_kaiming_uniform=None)  # of CondInst's network, which is not made

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from make_solov2 import HEIGHTS, config  # noqa: E402  (the small network)

from adet.modeling.condinst import condinst, dynamic_mask_head  # noqa: E402
from adet.modeling.solov2 import SOLOv2  # noqa: E402
from detectron2.structures import BitMasks, Boxes, ImageList, Instances  # noqa: E402

STEP, WARMUP = 2999, 10000
# With fractions, at the picture's edges, and too small for the pixel of any cell that is looked at.
BOXES = [[[8, 10, 50, 60], [60, 20, 110, 84], [14, 64, 34, 90], [20.3, 4.6, 121.8, 91.5], [0, 0, 128, 96], [71, 71, 73, 73]],
         [[30, 30, 46, 41], [58, 25, 117, 78], [5.5, 5.25, 25.5, 24.75]]]
CLASSES = [[0, 2, 1, 2, 1, 0], [1, 0, 0]]


def bitmasks(pictures, truths):
    """Boxes as masks, and colours that are alike: AdelaiDet's, with what its CondInst.forward does before."""
    counts = [torch.ones_like(p[0]) for p in pictures]
    for count, picture, height in zip(counts, pictures, HEIGHTS):
        removed = int(10 * float(picture.size(1)) / float(height))
        if removed > 0:
            count[-removed:, :] = 0
    padded = ImageList.from_tensors(pictures, 32).tensor
    counts = ImageList.from_tensors(counts, 32, pad_value=0.0).tensor
    self = types.SimpleNamespace(mask_out_stride=4, device="cpu", pairwise_size=3, pairwise_dilation=2)
    # Its pictures are BGR.
    condinst.CondInst.add_bitmasks_from_boxes(self, truths, padded[:, [2, 1, 0]], counts, padded.size(2), padded.size(3))


def object_of(mask, objects):
    """Which object a target's mask is of."""
    return next(i for i, one in enumerate(objects) if torch.equal(one, mask))


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = load_file(os.path.join(OUT, "solov2.safetensors"))
    cfg = config(3)
    cfg.MODEL.META_ARCHITECTURE = "SOLOv2"
    model = SOLOv2(cfg)
    prefix = "solov2/weights/"
    model.load_state_dict({k[len(prefix):]: v for k, v in golden.items() if k.startswith(prefix)})
    model.train()
    pictures = [golden[f"picture_{n}"].permute(2, 0, 1).float() for n in range(2)]
    out, truths = {}, []
    for n, picture in enumerate(pictures):
        truth = Instances(tuple(picture.shape[1:]))
        truth.gt_boxes, truth.gt_classes = Boxes(torch.tensor(BOXES[n])), torch.tensor(CLASSES[n])
        truths.append(truth)
        out[f"truth_boxes_{n}"], out[f"truth_classes_{n}"] = truth.gt_boxes.tensor, truth.gt_classes
    bitmasks(pictures, truths)
    for truth in truths:
        truth.gt_masks = BitMasks(truth.gt_bitmasks_full > 0)

    features = model.backbone(model.preprocess_image([{"image": p} for p in pictures]).tensor)
    categories, kernels = model.ins_head(model.split_feats([features[f] for f in model.instance_in_features]))
    mask_features = model.mask_head([features[f] for f in model.mask_in_features])
    targets = model.get_ground_truth(truths, mask_features.shape[-2:])
    small = sys.modules["adet.modeling.solov2.utils"].imrescale
    logits, boxes, similar = [], [], []
    for level in range(5):
        cells, classes, masks = [], [], []
        for n, truth in enumerate(truths):
            shrunk = torch.from_numpy(small(truth.gt_masks.tensor.permute(1, 2, 0).to(torch.uint8).numpy(), scale=0.25))
            shrunk = shrunk.permute(2, 0, 1)
            wanted, order = targets[0][n][level], targets[3][n][level]
            classes.append(targets[1][n][level])
            cells += [cell + 1000 * n for cell in order]
            for mask, cell in zip(wanted, order):
                i = object_of(mask, shrunk)
                kernel = kernels[level][n].flatten(1)[:, cell].view(1, -1, 1, 1)
                logits.append(F.conv2d(mask_features[n:n + 1], kernel))
                boxes.append(truth.gt_bitmasks[i][None, None])
                similar.append(truth.image_color_similarity[i][None])
                masks.append(truth.gt_bitmasks[i])
        out[f"target_cells_{level}"] = torch.tensor(cells, dtype=torch.int64)
        out[f"target_classes_{level}"] = torch.stack(classes)
        out[f"target_masks_{level}"] = (torch.stack(masks) if masks else torch.zeros((0, *mask_features.shape[-2:]))
                                        ).to(torch.uint8)
    logits, boxes, similar = torch.cat(logits), torch.cat(boxes), torch.cat(similar)
    weights = (similar >= 0.3).float() * boxes
    pairs = (dynamic_mask_head.compute_pairwise_term(logits, 3, 2) * weights).sum() / weights.sum().clamp(min=1.0)
    # SOLOv2's own loss for the classes; its loss of masks is not used.
    losses = {"loss_prj": dynamic_mask_head.compute_project_term(logits.sigmoid(), boxes),
              "loss_pairwise": pairs * min((STEP + 1) / WARMUP, 1.0),
              "loss_cate": model.loss(categories, kernels, mask_features, targets)["loss_cate"]}
    sum(losses.values()).backward()
    for key, value in losses.items():
        out[key] = value.detach().clone()
    for key, value in model.named_parameters():
        if value.grad is not None:
            out["grad/" + key] = value.grad.clone()
    print({k: v.item() for k, v in losses.items()}, len(logits), [len(out[f"target_cells_{i}"]) for i in range(5)])
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(OUT, "boxinst.safetensors"),
              metadata={"torch": torch.__version__})
    print(os.path.getsize(os.path.join(OUT, "boxinst.safetensors")))

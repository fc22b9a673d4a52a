#!/usr/bin/env python3
"""Golden runs of SOLOv2 and FreeSOLO at small widths: every stage, what is found, targets, losses, all gradients.

usage: make_solov2.py DETECTRON2_SOURCE ADELAIDET_SOURCE FREESOLO_SOURCE OUT_DIR
Made with aim-uofa/AdelaiDet 3672122, NVlabs/FreeSOLO 340311b and facebookresearch/detectron2 02b5c4e. Their compiled
extensions are not needed. Group norms have 4 groups here instead of 32, so that eight channels are enough.
"""
import importlib.util
import os
import sys

DETECTRON2, ADELAIDET, FREESOLO, OUT = sys.argv[1:5]
sys.path[:0] = [DETECTRON2]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import skimage  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from detectron2.config import CfgNode as CN  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling import BACKBONE_REGISTRY  # noqa: E402
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool  # noqa: E402
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet  # noqa: E402
from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402

SIZES = [(96, 128), (78, 117)]  # network inputs; the second is padded, and is no multiple of 4
HEIGHTS = [192, 60]  # of the pictures' files: rows at the bottom that do not count are scaled by them
EMBEDDING, STEP = 6, 299

original_norm = torch.nn.GroupNorm
torch.nn.GroupNorm = lambda groups, channels: original_norm(4, channels)


@BACKBONE_REGISTRY.register()
def tiny_backbone(cfg, input_shape):
    stages, channels = [], 4
    for i in range(4):
        stages.append(ResNet.make_stage(BottleneckBlock, 1, stride_per_block=[1 if i == 0 else 2], in_channels=channels,
                                        out_channels=8 << i, bottleneck_channels=2 << i, norm="FrozenBN",
                                        stride_in_1x1=False))
        channels = 8 << i
    bottom_up = ResNet(BasicStem(3, 4, "FrozenBN"), stages, out_features=["res2", "res3", "res4", "res5"])
    return FPN(bottom_up, ["res2", "res3", "res4", "res5"], 8, norm="", top_block=LastLevelMaxPool(), fuse_type="sum")


def package(name, folder):
    """The public code's folder as a package of another name: its parents want compiled parts."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, "__init__.py"),
                                                  submodule_search_locations=[folder])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def config(classes):
    cfg = get_cfg()
    solo = CN()
    solo.INSTANCE_IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    solo.FPN_INSTANCE_STRIDES = [8, 8, 16, 32, 32]
    solo.FPN_SCALE_RANGES = ((1, 24), (12, 48), (24, 96), (48, 192), (96, 512))
    solo.SIGMA = 0.2
    solo.INSTANCE_IN_CHANNELS, solo.INSTANCE_CHANNELS, solo.NUM_INSTANCE_CONVS = 8, 12, 2
    solo.USE_DCN_IN_INSTANCE, solo.TYPE_DCN = False, "DCN"
    solo.NUM_GRIDS = [8, 6, 5, 4, 3]
    solo.NUM_CLASSES, solo.NUM_KERNELS, solo.NORM, solo.USE_COORD_CONV, solo.PRIOR_PROB = classes, 8, "GN", True, 0.01
    solo.MASK_IN_FEATURES = ["p2", "p3", "p4", "p5"]
    solo.MASK_IN_CHANNELS, solo.MASK_CHANNELS, solo.NUM_MASKS = 8, 4, 8
    solo.NMS_PRE, solo.SCORE_THR, solo.UPDATE_THR, solo.MASK_THR, solo.MAX_PER_IMG = 30, 0.1, 0.05, 0.5, 12
    solo.NMS_TYPE, solo.NMS_KERNEL, solo.NMS_SIGMA = "matrix", "gaussian", 2
    solo.LOSS = CN()
    solo.LOSS.FOCAL_USE_SIGMOID, solo.LOSS.FOCAL_ALPHA, solo.LOSS.FOCAL_GAMMA = True, 0.25, 2.0
    solo.LOSS.FOCAL_WEIGHT, solo.LOSS.DICE_WEIGHT = 1.0, 3.0
    solo.FREEZE, solo.IS_FREEMASK = False, False
    cfg.MODEL.SOLOV2 = solo
    cfg.MODEL.DEVICE, cfg.MODEL.MASK_ON = "cpu", True
    cfg.MODEL.BACKBONE.NAME = "tiny_backbone"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [123.675, 116.280, 103.530], [58.395, 57.120, 57.375]
    return cfg


def spread(model, seed):
    """Scores and masks that are neither all alike nor all empty."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "ins_head" in key or "mask_head" in key:
                if value.dim() == 4:
                    value.copy_(torch.randn(value.shape, generator=generator) * (1.5 / value[0].numel()) ** 0.5)
                elif key.endswith("weight"):
                    value.copy_(torch.rand(value.shape, generator=generator) * 0.8 + 0.6)
                else:
                    value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif key.endswith("bias"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif value.dim() == 4:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
        for key, value in model.named_buffers():
            if key.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
            elif key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) * 1.5 + 0.5)
            elif key.endswith("norm.weight"):
                value.copy_(torch.rand(value.shape, generator=generator) * 0.8 + 0.6)
        model.ins_head.cate_pred.bias.fill_(-1)
        model.ins_head.kernel_pred.weight.mul_(2)


def picture(size, generator):
    """A smooth random picture with hard edges in it, u8 [H, W, 3]."""
    low = torch.rand((1, 3, 6, 6), generator=generator) * 255
    x = torch.nn.functional.interpolate(low, size, mode="bicubic")[0].clamp(0, 255)
    x[:, size[0] // 3:2 * size[0] // 3, size[1] // 4:size[1] // 2] *= 0.4
    return x.round().to(torch.uint8).permute(1, 2, 0).contiguous()


def truths(size, boxes, classes, generator):
    """Ellipses in boxes."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    masks = [(((x - (a + c) / 2) / ((c - a) / 2)) ** 2 + ((y - (b + d) / 2) / ((d - b) / 2)) ** 2) <= 1
             for a, b, c, d in boxes]
    masks[-1][:] = False  # an object that has lost its mask
    out = Instances(size)
    out.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4).float())
    out.gt_classes = torch.tensor(classes)
    out.gt_masks = BitMasks(torch.stack(masks))
    out.gt_embs = torch.randn((len(boxes), EMBEDDING), generator=generator)
    return out


def put_all(out, prefix, tensors):
    for key, value in tensors.items():
        out[prefix + key] = value.detach().clone().contiguous()


def stages(model, inputs, out):
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(inputs).tensor)
        put_all(out, "", features)
        levels = model.split_feats([features[f] for f in model.instance_in_features])
        put_all(out, "level_", {str(i): v for i, v in enumerate(levels)})
        predicted = model.ins_head(levels)
        for name, maps in zip(("cate", "kernel", "emb"), predicted):
            put_all(out, name + "_", {str(i): v for i, v in enumerate(maps)})
        out["mask_features"] = model.mask_head([features[f] for f in model.mask_in_features]).clone()


def infer(model, inputs, out, prefix):
    model.eval()
    with torch.no_grad():
        for n, one in enumerate(inputs):
            h, w = SIZES[n][0] // 2 + 5, SIZES[n][1] // 2 - 3
            found = model([{"image": one["image"], "height": h, "width": w}])[0]["instances"]
            out[f"{prefix}found_masks_{n}"] = found.pred_masks.to(torch.uint8)
            out[f"{prefix}found_scores_{n}"] = found.scores
            out[f"{prefix}found_classes_{n}"] = found.pred_classes
            print(prefix, n, len(found), found.scores[:4].tolist(), found.pred_masks.float().mean((1, 2))[:5].tolist())


def record_targets(model, out, prefix):
    original = model.get_ground_truth

    def wrapped(*arguments, **more):
        result = original(*arguments, **more)
        for level in range(5):
            masks = torch.cat([image[level] for image in result[0]])
            out[f"{prefix}target_masks_{level}"] = masks
            out[f"{prefix}target_classes_{level}"] = torch.stack([image[level] for image in result[1]])
            out[f"{prefix}target_cells_{level}"] = torch.cat(
                [torch.tensor(image[level], dtype=torch.int64) + i * 1000 for i, image in enumerate(result[3])])
        wrapped.result, wrapped.truths = result, arguments[0]
        return result

    model.get_ground_truth = wrapped
    return wrapped


def train(model, inputs, out, prefix, extra=None):
    model.train()
    model.zero_grad()
    losses = model([dict(x) for x in inputs])
    if extra:
        losses = extra(losses)
    sum(losses.values()).backward()
    put_all(out, prefix, losses)
    for key, value in model.named_parameters():
        if value.grad is not None:
            out[f"{prefix}grad/{key}"] = value.grad.clone()
    print(prefix, {k: v.item() for k, v in losses.items()})


def suppression(utils, out):
    generator = torch.Generator().manual_seed(8)
    centre = torch.rand((14, 2), generator=generator) * 12
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    masks = torch.stack([((y - c[0]) ** 2 + (x - c[1]) ** 2) < 14 for c in centre])
    scores = torch.rand(14, generator=generator).sort(descending=True)[0]
    classes = torch.randint(0, 2, (14,), generator=generator)
    out["nms_masks"], out["nms_scores"], out["nms_classes"] = masks.to(torch.uint8), scores, classes
    out["nms_decayed"] = utils.matrix_nms(classes, masks, masks.sum((1, 2)).float(), scores.clone())


def shrinking(imrescale, out):
    """Masks at a quarter of their size, for sizes that 4 does not divide."""
    generator = torch.Generator().manual_seed(9)
    for n, size in enumerate([(40, 52), (41, 50), (43, 55), (38, 49)]):
        blob = torch.nn.functional.interpolate(torch.rand((1, 3, 14, 14), generator=generator), size, mode="bilinear")[0]
        masks = (blob > 0.5).to(torch.uint8)
        small = imrescale(masks.permute(1, 2, 0).contiguous().numpy(), scale=0.25)
        out[f"shrink_from_{n}"] = masks
        out[f"shrink_to_{n}"] = torch.from_numpy(small).permute(2, 0, 1).contiguous()


if __name__ == "__main__":
    torch.set_num_threads(1)
    solov2 = package("adelaidet_solov2", ADELAIDET + "/adet/modeling/solov2")
    del META_ARCH_REGISTRY._obj_map["SOLOv2"]
    package("freesolo_solov2", FREESOLO + "/freesolo/modeling/solov2")

    generator = torch.Generator().manual_seed(1)
    pictures = [picture(size, generator) for size in SIZES]
    objects = [truths(SIZES[0], [[8, 10, 50, 60], [60, 20, 110, 84], [14, 64, 34, 90], [20, 4, 122, 92], [0, 0, 9, 30]],
                      [0, 2, 1, 2, 1], generator),
               truths(SIZES[1], [[30, 30, 46, 41], [58, 25, 116, 77], [5, 5, 25, 25]], [1, 0, 0], generator)]
    inputs = [{"image": p.permute(2, 0, 1), "instances": t, "height": h}
              for p, t, h in zip(pictures, objects, HEIGHTS)]
    out = {}
    for n, (p, t) in enumerate(zip(pictures, objects)):
        out[f"picture_{n}"], out[f"truth_boxes_{n}"] = p, t.gt_boxes.tensor
        out[f"truth_masks_{n}"], out[f"truth_classes_{n}"] = t.gt_masks.tensor.to(torch.uint8), t.gt_classes.clone()
        out[f"truth_embeddings_{n}"] = t.gt_embs
    suppression(sys.modules["adelaidet_solov2.utils"], out)
    shrinking(sys.modules["adelaidet_solov2.utils"].imrescale, out)

    # Supervised, with three classes.
    cfg = config(3)
    cfg.MODEL.META_ARCHITECTURE = "SOLOv2"
    model = solov2.SOLOv2(cfg)
    spread(model, 4)
    put_all(out, "solov2/weights/", model.state_dict())
    stages(model, inputs, out)
    record_targets(model, out, "solov2/")
    train(model, inputs, out, "solov2/")
    infer(model, inputs, out, "solov2/")

    # FreeSOLO: the same network with two outputs for one class, and an embedding.
    cfg = config(2)
    cfg.MODEL.META_ARCHITECTURE = "PseudoSOLOv2"
    cfg.MODEL.SOLOV2.LOSS.DICE_WEIGHT = 1.0
    free = META_ARCH_REGISTRY.get("PseudoSOLOv2")(cfg)
    free.num_embs = free.ins_head.num_embs = EMBEDDING
    free.ins_head.emb_pred = torch.nn.Conv2d(12, EMBEDDING, 3, padding=1)
    spread(free, 5)
    put_all(out, "freesolo/weights/", {k: v for k, v in free.state_dict().items() if "_iter" not in k})
    free._iter.fill_(STEP)
    for one in inputs:
        one["instances"].gt_classes.zero_()
    recorded = record_targets(free, out, "unused/")
    embeddings = []
    free.ins_head.register_forward_hook(lambda m, i, o: embeddings.append(o[2]))

    def paper(losses):
        """The paper's embedding loss, which the public code computes and leaves out, written out."""
        cosines = []
        for level in range(5):
            for image in range(2):
                classes, wanted = recorded.result[1][image][level], recorded.result[4][image][level]
                predicted = embeddings[-1][level][image].permute(1, 2, 0)
                for y, x in (classes == 0).nonzero().tolist():
                    cosines.append(torch.cosine_similarity(predicted[y, x], wanted[y, x], dim=0))
        return dict(losses, loss_emb=4 * (1 - torch.stack(cosines)).mean())

    train(free, inputs, out, "freesolo/release/")
    free._iter.fill_(STEP)
    train(free, inputs, out, "freesolo/paper/", paper)
    infer(free, inputs, out, "freesolo/")
    for n, truth in enumerate(recorded.truths):
        out[f"similar_{n}"] = (truth.image_color_similarity[0] >= 0.3).to(torch.uint8)
    # What both say alike, once.
    for key in list(out):
        if key.startswith(("unused/", "freesolo/found_masks", "level_1", "level_2", "level_3")) or (key.startswith("freesolo/release/grad") and "emb_pred" not in key
                                         and "cate_tower" not in key):
            del out[key]
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(OUT, "solov2.safetensors"),
              metadata={"torch": torch.__version__, "numpy": np.__version__, "opencv": cv2.__version__,
                        "skimage": skimage.__version__})
    print(os.path.getsize(os.path.join(OUT, "solov2.safetensors")))

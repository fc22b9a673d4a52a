#!/usr/bin/env python3
"""Golden runs of Detectron2's ViTDet project (Cascade Mask R-CNN) at small widths: the backbone alone on pictures that
are not square, every stage of inference, losses and gradients of all parameters of one training step.

usage: make_vitdet.py DETECTRON2_SOURCE GOLDEN_DIR [SEED...]
GOLDEN_DIR holds rcnn_weights.safetensors (make_rcnn.py), whose pictures and truths are used, and receives
vitdet_weights, vitdet_test and vitdet_train.safetensors. Detectron2's compiled extension is not needed: the RoIAlign and
NMS that it uses are torchvision's. Needs timm, fvcore and omegaconf. Of several seeds the one is taken whose f32 losses and
gradients are nearest to the same model's in f64: where a ReLU's input is within rounding of zero, gradients are up to
5e-2 away.
"""
import copy
import os
import sys
import warnings

DETECTRON2, GOLDEN = sys.argv[1:3]
sys.path.insert(0, DETECTRON2)
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import detectron2.modeling.roi_heads.fast_rcnn as fast_rcnn  # noqa: E402
import detectron2.modeling.roi_heads.roi_heads as roi_heads  # noqa: E402
from detectron2 import model_zoo  # noqa: E402
from detectron2.config import LazyConfig, instantiate  # noqa: E402
from detectron2.modeling.proposal_generator import proposal_utils  # noqa: E402
from detectron2.modeling.proposal_generator import rpn as rpn_module  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402
from detectron2.modeling.sampling import subsample_labels  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

SQUARE = 160  # px: 10 x 10 patches, in windows of 4 x 4
OTHER = (96, 160)  # px: 6 rows of patches, for which the relative positions of rows are interpolated, not of columns


def pattern(shape, salt):
    """pattern() of make_fpn.py."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.int64) + 1000003 * salt
    return ((index * 2654435761 % 2**32) >> 8).double().mul(2.0**-23).sub(1).float().reshape(shape)


def build(seed):
    model_zoo.get_config = lambda name: LazyConfig.load(f"{DETECTRON2}/configs/{name}")
    cfg = LazyConfig.load(f"{DETECTRON2}/projects/ViTDet/configs/COCO/cascade_mask_rcnn_vitdet_b_100ep.py").model
    cfg.backbone.net.update(img_size=SQUARE, pretrain_img_size=64, embed_dim=16, depth=8, num_heads=2, window_size=4,
                            drop_path_rate=0.0, window_block_indexes=[0, 2, 4, 6])
    cfg.backbone.update(out_channels=8, square_pad=SQUARE)
    cfg.proposal_generator.head.in_channels = 8
    cfg.proposal_generator.update(batch_size_per_image=32, pre_nms_topk=(60, 150), post_nms_topk=(100, 100))
    cfg.roi_heads.update(num_classes=1, batch_size_per_image=12)
    for head in cfg.roi_heads.box_heads:
        head.input_shape.channels = 8
        head.update(conv_dims=[8] * 4, fc_dims=[16])
    for predictor in cfg.roi_heads.box_predictors:
        predictor.input_shape.channels = 16
        predictor.update(test_score_thresh=0.0, test_topk_per_image=20)
    cfg.roi_heads.mask_head.input_shape.channels = 8
    cfg.roi_heads.mask_head.conv_dims = [8] * 5
    torch.manual_seed(seed)
    model = instantiate(cfg)
    with torch.no_grad():
        for key, value in model.named_parameters():  # nothing stays at a start of zeros, scores and boxes spread
            if "rel_pos" in key:
                value.normal_(0, 0.5)
            elif "pos_embed" in key:
                value.normal_(0, 0.3)
            elif "objectness_logits" in key or "cls_score.weight" in key:
                value.normal_(0, 0.6)
            elif "bbox_pred.weight" in key:
                value.normal_(0, 0.1)
            elif "anchor_deltas" in key:
                value.normal_(0, 0.3)
            elif "mask_head.predictor" in key:
                value.normal_(0, 0.8)
            elif key.endswith("bias"):
                value.normal_(0, 0.1)
            elif value.ndim == 1:  # of norms
                value.uniform_(0.6, 1.4)
            elif ".blocks." in key:
                value.normal_(0, 0.25)
            else:
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
    return model


def backbone_alone(model, testing, training):
    images = pattern((2, 3, *OTHER), 0)
    loss = 0
    for i, (name, value) in enumerate(model.backbone(images).items()):
        testing["alone/" + name] = value.detach()
        loss = loss + (value * pattern(value.shape, 1 + i)).mean()
    loss.backward()
    for key, value in model.backbone.named_parameters():
        training["alone/grad/" + key] = value.grad.clone()
    model.zero_grad()


def inputs_of():
    golden = load_file(f"{GOLDEN}/rcnn_weights.safetensors")
    inputs = []
    for n in range(2):
        picture = golden[f"picture_{n}"]
        truth = Instances(tuple(picture.shape[:2]))
        truth.gt_boxes = Boxes(golden[f"truth_boxes_{n}"])
        truth.gt_classes = torch.zeros(len(truth.gt_boxes), dtype=torch.int64)
        truth.gt_masks = BitMasks(golden[f"truth_masks_{n}"].bool())
        inputs.append({"image": picture.permute(2, 0, 1), "instances": truth})
    return inputs


def infer(model, inputs, out):
    model.eval()
    put = lambda name, value: out.__setitem__("whole/" + name, value.detach().clone())
    hooks = [model.proposal_generator.rpn_head.register_forward_hook(
        lambda m, i, o: [put(f"rpn_logits_{l}", x.permute(0, 2, 3, 1).flatten(1)) for l, x in enumerate(o[0])] and None)]
    for k, predictor in enumerate(model.roi_heads.box_predictor):
        hooks.append(predictor.register_forward_hook(
            lambda m, i, o, k=k: [put(f"logits_{k}", o[0]), put(f"deltas_{k}", o[1])] and None))
    with torch.no_grad():
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        found, _ = model.roi_heads(images, features, proposals, None)
        for name, value in features.items():
            put(name, value)
        for n, (p, d) in enumerate(zip(proposals, found)):
            put(f"proposals_{n}", p.proposal_boxes.tensor)
            put(f"detected_boxes_{n}", d.pred_boxes.tensor)
            put(f"detected_scores_{n}", d.scores)
            put(f"detected_masks_{n}", d.pred_masks[:6, 0])
    for hook in hooks:
        hook.remove()
    print(tuple(images.tensor.shape), [len(p) for p in proposals], [len(d) for d in found], found[0].scores[:5])


def losses_of(model, inputs, sampler):
    rpn_module.subsample_labels = roi_heads.subsample_labels = sampler
    model.train()
    model.zero_grad()
    with EventStorage():
        losses = model(inputs)
    sum(losses.values()).backward()
    return losses


def train(model, inputs, out):
    samples = []
    losses = losses_of(model, inputs, lambda *a: samples.append(subsample_labels(*a)) or samples[-1])
    for key, value in losses.items():
        out["whole/" + key] = value.detach()
    for i, (positive, negative) in enumerate(samples):
        out[f"whole/sample_0_{i}_positive"], out[f"whole/sample_0_{i}_negative"] = positive.int(), negative.int()
    for key, value in model.named_parameters():
        out["whole/grad/" + key] = value.grad.clone()
    wide = copy.deepcopy(model).double()
    torch.set_default_dtype(torch.float64)
    for x in inputs:
        boxes = x["instances"].gt_boxes
        boxes.tensor = boxes.tensor.double()
    again = iter(samples)
    wide_losses = losses_of(wide, inputs, lambda *a: next(again))
    torch.set_default_dtype(torch.float32)
    error = max(float((out["whole/grad/" + k] - v.grad).abs().max() / v.grad.abs().max())
                for k, v in wide.named_parameters())
    # Losses are compared a hundred times as closely.
    error = max(error, 100 * max(abs(losses[k].item() - v.item()) for k, v in wide_losses.items()))
    print({k: round(v.item(), 4) for k, v in losses.items()}, "f32 - f64:", error, flush=True)
    return error


def save(name, tensors):
    path = os.path.join(GOLDEN, name)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              metadata={"torch": torch.__version__, "numpy": np.__version__, "torchvision": torchvision.__version__,
                        "timm": timm.__version__})
    print(path, os.path.getsize(path))


if __name__ == "__main__":
    # torchvision's other way, which it takes for many boxes: without shifting levels apart, which rounds.
    nms = torchvision.ops.boxes._batched_nms_vanilla
    proposal_utils.batched_nms = fast_rcnn.batched_nms = lambda b, s, i, t: nms(b, s.to(b.dtype), i, t)
    best = float("inf")
    for seed in map(int, sys.argv[3:] or range(16)):
        candidate, inputs, found = build(seed), inputs_of(), {}
        error = train(candidate, inputs, found)
        if error < best:
            best, model, training = error, candidate, found
    model.zero_grad()
    testing = {}
    backbone_alone(model, testing, training)
    infer(model, inputs_of(), testing)
    save("vitdet_weights.safetensors", model.state_dict())
    save("vitdet_test.safetensors", testing)
    save("vitdet_train.safetensors", training)

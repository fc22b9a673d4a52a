#!/usr/bin/env python3
"""Golden runs of detectors of boxes alone, at small widths: Detectron2's Faster R-CNN on a feature pyramid (with a box
for each class) and on C4 with LOST's norm behind res5: losses and gradients of one training step, and detections.

usage: make_faster_rcnn.py DETECTRON2_SOURCE OUT_DIR
Detectron2 at commit 02b5c4e295e990042a714712c21dc79b731e8833; its compiled extension is not needed. The settings of C4
are those of RN50_DINO_FRCNN_VOC07_OD.yaml (valeoai/LOST at fcedbecb644f18358a660ce58c739cc6374feda8), narrower. What the
pyramid's detector shares with "mask" of rcnn_weights.safetensors is taken from there.
"""
import os
import sys

DETECTRON2, OUT = sys.argv[1:3]
sys.path.insert(0, DETECTRON2)

import torch  # noqa: E402
import torchvision  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from detectron2.config import get_cfg  # noqa: E402
from detectron2.layers import get_norm  # noqa: E402
from detectron2.modeling import ROI_HEADS_REGISTRY, build_model  # noqa: E402
from detectron2.modeling.proposal_generator import proposal_utils  # noqa: E402
from detectron2.modeling.proposal_generator import rpn as rpn_module  # noqa: E402
from detectron2.modeling.roi_heads import Res5ROIHeads, fast_rcnn, roi_heads  # noqa: E402
from detectron2.structures import Boxes, Instances  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

CLASSES = [[0, 2, 1], [2]]
samples = []


@ROI_HEADS_REGISTRY.register()
class NormAfterRes5(Res5ROIHeads):
    """The same module as LOST's and MoCo's detectors have."""

    def _build_res5_block(self, cfg):
        blocks, channels = super()._build_res5_block(cfg)
        blocks.add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, channels))
        return blocks, channels


def record_samples(module):
    original = module.subsample_labels

    def wrapped(*arguments):
        samples.append(original(*arguments))
        return samples[-1]

    module.subsample_labels = wrapped


def small(cfg):
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.MASK_ON = False
    cfg.MODEL.RESNETS.DEPTH = 50
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.NORM = "BN"  # what SyncBN is in one process; SyncBN refuses the CPU
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 4, 8
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 48
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN, cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 60, 100
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 150, 100
    cfg.TEST.DETECTIONS_PER_IMAGE = 20
    return cfg


def pyramid():
    cfg = small(get_cfg())
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.NORM, cfg.MODEL.FPN.OUT_CHANNELS = "BN", 8
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.NMS_THRESH = 0.65
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_BOX_HEAD.NAME, cfg.MODEL.ROI_BOX_HEAD.NUM_FC = "FastRCNNConvFCHead", 2
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 7, 16
    return cfg


def c4():
    cfg = small(get_cfg())
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    cfg.MODEL.ROI_HEADS.NAME = "NormAfterRes5"
    cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.4
    return cfg


def build(cfg, seed, shared=None):
    torch.manual_seed(seed)
    model = build_model(cfg)
    with torch.no_grad():
        for key, value in model.named_parameters():  # spread scores and boxes
            if "objectness_logits" in key or "cls_score.weight" in key:
                value.normal_(0, 0.03 if value.ndim == 2 and value.shape[1] == 64 else 0.6)
            elif "anchor_deltas" in key or "bbox_pred.weight" in key:
                value.normal_(0, 0.3)
            elif key.endswith("bias"):
                value.normal_(0, 0.1)
            elif "norm.weight" in key:
                value.uniform_(0.6, 1.4)
        for key, value in model.named_buffers():
            if key.endswith("running_mean"):
                value.normal_(0, 0.2)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2)
        for key, value in model.state_dict().items():
            if shared is not None and key in shared and shared[key].shape == value.shape:
                value.copy_(shared[key])
            elif value.is_floating_point():
                value.copy_(value.half())  # the files have 16 bits of them
    return model


def train(model, inputs, out, prefix, parts=("",)):
    model.train()
    samples.clear()
    with EventStorage():
        losses = model(inputs)
    sum(losses.values()).backward()
    for i, (positive, negative) in enumerate(samples):
        out[f"{prefix}sample_0_{i}_positive"], out[f"{prefix}sample_0_{i}_negative"] = positive.int(), negative.int()
    for key, value in losses.items():
        out[prefix + key] = value.detach()
    kept = 0
    for key, value in model.named_parameters():
        if value.grad is None:
            print("frozen", key)
        elif (value.numel() <= 300 or "bbox_pred" in key) and key.startswith(parts):
            out[prefix + "grad/" + key] = value.grad.clone()
            kept += 1
    print(prefix, {k: v.item() for k, v in losses.items()}, kept, "gradients")


def infer(model, inputs, out, prefix):
    model.eval()
    with torch.no_grad():
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        found, _ = model.roi_heads(images, features, proposals, None)
    for n, d in enumerate(found):
        out[f"{prefix}detected_boxes_{n}"] = d.pred_boxes.tensor.clone()
        out[f"{prefix}detected_scores_{n}"] = d.scores.clone()
        out[f"{prefix}detected_classes_{n}"] = d.pred_classes.clone()
    print(prefix, [len(d) for d in found], found[0].scores[:5], found[0].pred_classes[:8])


if __name__ == "__main__":
    # Without shifting classes apart, which rounds: torchvision's other way, which it takes for many boxes.
    proposal_utils.batched_nms = fast_rcnn.batched_nms = torchvision.ops.boxes._batched_nms_vanilla
    record_samples(rpn_module)
    record_samples(roi_heads)
    known = load_file(os.path.join(OUT, "rcnn_weights.safetensors"))
    shared = {k[8:]: v for k, v in known.items() if k.startswith("cascade/")}
    shared.update({k[5:]: v for k, v in known.items() if k.startswith("mask/")})
    inputs = []
    for n, classes in enumerate(CLASSES):
        truth = Instances(known[f"picture_{n}"].shape[:2])
        truth.gt_boxes, truth.gt_classes = Boxes(known[f"truth_boxes_{n}"]), torch.tensor(classes)
        inputs.append({"image": known[f"picture_{n}"].permute(2, 0, 1), "instances": truth})
    out = {}
    for name, cfg, weights in (("faster", pyramid(), shared), ("c4", c4(), None)):
        model = build(cfg, 3, weights)
        for key, value in model.state_dict().items():
            own = weights is None or key not in weights or weights[key].shape != value.shape
            if own and not key.endswith("num_batches_tracked"):
                out[f"{name}/w/{key}"] = value.half()
        infer(model, inputs, out, name + "/")
        # res5 sees so many regions that some activation is within rounding of ReLU's kink, and norms of a batch make a
        # hundredth of that: on C4 the gradients below such norms are those of frozen ones.
        above = ("roi_heads.box_predictor", "roi_heads.res5.norm", "proposal_generator")
        train(model, inputs, out, name + "/", above if name == "c4" else ("",))
        if name == "c4":
            cfg.MODEL.RESNETS.NORM = "FrozenBN"
            frozen = build(cfg, 3)
            frozen.load_state_dict({k[5:]: v.float() for k, v in out.items() if k.startswith("c4/w/")})
            train(frozen, inputs, out, "c4_frozen/")
    path = os.path.join(OUT, "faster_rcnn.safetensors")
    save_file({k: v.contiguous() for k, v in out.items()}, path,
              metadata={"torch": torch.__version__, "torchvision": torchvision.__version__})
    print(os.path.getsize(path), "bytes")

#!/usr/bin/env python3
"""Writes checkpoint_layouts.bin: detectors and backbones in the layouts of the public files (containers, nesting, names,
dtypes, leftovers), at tiny widths and with made-up values, as a bundle (tests/support/bundle.h).

usage: make_layouts.py OUTPUT_FOLDER

Layouts are taken from DINO's dino_resnet50_pretrain.pth, MoCo-v2's moco_v2_800ep_pretrain.pth.tar, what CutLER's and
Detectron2's converters of such files write (.pkl), Detectron2's model zoo (.pkl) and its trainer (CutLER's .pth).
"""
import collections
import io
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import torch

BLOCKS, WIDTH, FPN, HIDDEN = (1, 2, 1, 1), 2, 4, 8


def values(*shape):
    return torch.arange(torch.Size(shape).numel()).remainder(7).float().reshape(shape)  # compresses well


def norm(d, name, channels, counter):
    for part in ("weight", "bias", "running_mean", "running_var"):
        d[f"{name}.{part}"] = values(channels) + 1
    if counter:
        d[f"{name}.num_batches_tracked"] = torch.tensor(9)


def resnet(counter=True):
    """torchvision's names."""
    d = collections.OrderedDict()
    d["conv1.weight"] = values(WIDTH, 3, 7, 7)
    norm(d, "bn1", WIDTH, counter)
    wide = WIDTH
    for stage, count in enumerate(BLOCKS):
        middle = WIDTH << stage
        for block in range(count):
            at = f"layer{stage + 1}.{block}."
            shapes = [(middle, wide, 1, 1), (middle, middle, 3, 3), (4 * middle, middle, 1, 1)]
            for i, shape in enumerate(shapes, 1):
                d[f"{at}conv{i}.weight"] = values(*shape)
                norm(d, f"{at}bn{i}", shape[0], counter)
            if block == 0:
                d[at + "downsample.0.weight"] = values(4 * middle, wide, 1, 1)
                norm(d, at + "downsample.1", 4 * middle, counter)
            wide = 4 * middle
    return d


def detectron2_names(d):
    """What the converters of torchvision's names to Detectron2's write."""
    renamed = collections.OrderedDict()
    for name, value in d.items():
        if "layer" not in name:
            name = "stem." + name
        for i in range(1, 5):
            name = name.replace(f"layer{i}", f"res{i + 1}").replace(f"bn{i}", f"conv{i}.norm")
        renamed[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = value
    return renamed


def detector(stages, classes, fpn_norm, counter, agnostic):
    d = collections.OrderedDict()
    for level, channels in zip(range(2, 6), (WIDTH * 4 << s for s in range(4))):
        for name, shape in ((f"backbone.fpn_lateral{level}", (FPN, channels, 1, 1)),
                            (f"backbone.fpn_output{level}", (FPN, FPN, 3, 3))):
            d[name + ".weight"] = values(*shape)
            if fpn_norm:
                norm(d, name + ".norm", FPN, counter)
            else:
                d[name + ".bias"] = values(FPN)
    for name, value in detectron2_names(resnet(counter)).items():
        d["backbone.bottom_up." + name] = value

    def layer(name, *shape, out=None):
        d[name + ".weight"] = values(*shape)
        d[name + ".bias"] = values(out or shape[0])

    layer("proposal_generator.rpn_head.conv", FPN, FPN, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", 3, FPN, 1, 1)
    layer("proposal_generator.rpn_head.anchor_deltas", 12, FPN, 1, 1)
    for k in range(stages):
        at = f".{k}" if stages > 1 else ""
        layer(f"roi_heads.box_head{at}.fc1", HIDDEN, FPN * 49)
        layer(f"roi_heads.box_head{at}.fc2", HIDDEN, HIDDEN)
        layer(f"roi_heads.box_predictor{at}.cls_score", classes + 1, HIDDEN)
        layer(f"roi_heads.box_predictor{at}.bbox_pred", 4 if agnostic else 4 * classes, HIDDEN)
    for i in range(1, 5):
        layer(f"roi_heads.mask_head.mask_fcn{i}", FPN, FPN, 3, 3)
    layer("roi_heads.mask_head.deconv", FPN, FPN, 2, 2)
    layer("roi_heads.mask_head.predictor", classes, FPN, 1, 1)
    return d


def saved(obj, legacy=False):
    stream = io.BytesIO()
    torch.save(obj, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def arrays(d):
    return {name: value.numpy() for name, value in d.items()}


def trained(model):
    """As Detectron2's checkpointer saves a training."""
    parameters = [torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10])
    return {"model": model, "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(), "iteration": 159999}


def main(folder):
    moco = collections.OrderedDict()
    for encoder in ("encoder_q", "encoder_k"):
        for name, value in resnet().items():
            moco[f"module.{encoder}.{name}"] = value
        for i, (out, wide) in ((0, (8, 8)), (2, (4, 8))):
            moco[f"module.{encoder}.fc.{i}.weight"], moco[f"module.{encoder}.fc.{i}.bias"] = values(out, wide), values(out)
    moco["module.queue"], moco["module.queue_ptr"] = values(4, 6), torch.zeros(1, dtype=torch.int64)
    supervised = resnet()
    supervised["fc.weight"], supervised["fc.bias"] = values(5, WIDTH * 32), values(5)
    zoo = detector(1, 80, False, False, False)
    zoo["pixel_mean"], zoo["pixel_std"] = values(3, 1, 1), values(3, 1, 1)
    for i in range(5):
        zoo[f"proposal_generator.anchor_generator.cell_anchors.{i}"] = values(3, 4)
    cascade_zoo = detector(3, 80, False, False, True)
    bare = {"backbone.bottom_up." + k: v for k, v in detectron2_names(resnet(False)).items()}
    files = {
        "dino_resnet50_pretrain.pth": saved(resnet()),
        "moco_v2_800ep_pretrain.pth.tar": saved({"epoch": 800, "arch": "resnet50", "state_dict": moco}, legacy=True),
        "R-50.pkl": pickle.dumps({"model": arrays(detectron2_names(supervised)), "__author__": "torchvision",
                                  "matching_heuristics": True}),
        "zoo mask_rcnn model_final.pkl": pickle.dumps({"model": arrays(zoo), "__author__": "Detectron2 Model Zoo"}, 2),
        "zoo cascade model_final.pkl": pickle.dumps({"model": arrays(cascade_zoo), "__author__": "Detectron2 Model Zoo"}, 2),
        "cutler_cascade_final.pth": saved(trained(detector(3, 1, True, True, True))),
        "cutler_mrcnn_final.pth": saved({"model": detector(1, 1, True, True, True)}, legacy=True),
        "bare backbone.pth": saved({"model": bare}),
    }
    with open(Path(folder) / "checkpoint_layouts.bin", "wb") as out:
        for key, data in files.items():
            out.write(struct.pack("<II", len(key), len(data)) + key.encode() + data)
    print("torch", torch.__version__, "numpy", np.__version__, {k: len(v) for k, v in files.items()})


if __name__ == "__main__":
    main(sys.argv[1])

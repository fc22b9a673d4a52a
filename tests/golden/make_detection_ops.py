#!/usr/bin/env python3
"""Golden results of torchvision's roi_align and nms and of Detectron2's paste_masks_in_image.

usage: make_detection_ops.py DETECTRON2_SOURCE OUT_DIR   (only detectron2/layers/mask_ops.py of the source is used)
"""
import importlib.util
import os
import sys

import torch
import torchvision
from safetensors.torch import save_file


def boxes_in(count, height, width, generator, least=0.0):
    low = torch.rand((count, 2), generator=generator) * torch.tensor([width, height]) * 1.2 - 0.1 * width
    size = torch.rand((count, 2), generator=generator) ** 2 * torch.tensor([width, height]) + least
    return torch.cat([low, low + size], 1)


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("mask_ops", sys.argv[1] + "/detectron2/layers/mask_ops.py")
    mask_ops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mask_ops)
    g = torch.Generator().manual_seed(0)
    out = {}

    x = torch.randn((2, 3, 19, 26), generator=g, requires_grad=True)
    image = torch.randint(0, 2, (14, 1), generator=g).float()
    boxes = boxes_in(14, 76, 104, g)
    boxes[3, 2:] = boxes[3, :2]  # no size
    boxes[4] = torch.tensor([30.0, 40.0, 31.0, 41.0])
    boxes[6] = torch.tensor([-300.0, -300.0, -250.0, -200.0])  # outside
    rois = torch.cat([image, boxes], 1)
    out.update(roi_x=x.detach(), rois=rois)
    for name, size, ratio, aligned in [("7", 7, 0, True), ("14", 14, 0, True), ("2_old", 2, 2, False), ("3_fixed", 3, 2, True)]:
        y = torchvision.ops.roi_align(x, rois, (size, size), 0.25, ratio, aligned)
        grad = torch.randn(y.shape, generator=g)
        y.backward(grad)
        out["roi_" + name], out["roi_grad_" + name], out["roi_x_grad_" + name] = y.detach(), grad, x.grad.clone()
        x.grad = None

    boxes = boxes_in(300, 100, 140, g, 5.0)
    scores = torch.rand((300,), generator=g)
    groups = torch.randint(0, 4, (300,), generator=g)
    out.update(nms_boxes=boxes, nms_scores=scores, nms_groups=groups)
    for t in (0.3, 0.5, 0.65):
        out[f"nms_{t}"] = torchvision.ops.nms(boxes, scores, t)
    out["nms_batched_0.5"] = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, groups, 0.5)

    masks = torch.rand((9, 28, 28), generator=g)
    masks = torch.nn.functional.avg_pool2d(masks[:, None], 7, 1, 3)[:, 0] * 2 - 0.5
    boxes = boxes_in(9, 60, 80, g, 3.0)
    boxes[2] = torch.tensor([10.0, 10.0, 11.0, 11.0])
    boxes[3] = torch.tensor([-20.0, -10.0, 100.0, 90.0])
    masks[4] = 1.0
    out.update(paste_masks=masks.contiguous(), paste_boxes=boxes)
    out["pasted"] = mask_ops.paste_masks_in_image(masks, boxes, (60, 80), 0.5).to(torch.uint8)
    out["pasted_0.3"] = mask_ops.paste_masks_in_image(masks, boxes, (60, 80), 0.3).to(torch.uint8)
    save_file(out, os.path.join(sys.argv[2], "detection_ops.safetensors"),
              metadata={"torch": torch.__version__, "torchvision": torchvision.__version__})

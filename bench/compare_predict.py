#!/usr/bin/env python3
"""usol predict beside CutLER's detector at full size: a ResNet-50 with random weights, saved as Detectron2 saves them.

usage: compare_predict.py DETECTRON2_SOURCE CUTLER_SOURCE USOL PICTURE...
Prints, for each picture, the largest differences of scores, boxes (px) and mask areas, and both times. Needs torch,
torchvision and what Detectron2 imports; its compiled extension is not needed.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

DETECTRON2, CUTLER, USOL = sys.argv[1:4]
sys.path[:0] = [DETECTRON2, CUTLER + "/cutler"]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

import modeling  # noqa: E402
from config import add_cutler_config  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.data.transforms import ResizeShortestEdge  # noqa: E402

# Spread scores and boxes, which start out all alike.
SPREAD = {"objectness_logits.weight": 0.05, "anchor_deltas.weight": 0.02, "cls_score.weight": 0.05,
          "bbox_pred.weight": 0.02, "mask_head.predictor.weight": 0.3}


def build():
    cfg = get_cfg()
    add_cutler_config(cfg)
    cfg.merge_from_file(f"{CUTLER}/cutler/model_zoo/configs/CutLER-ImageNet/cascade_mask_rcnn_R_50_FPN.yaml")
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = modeling.build_model(cfg).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            for end, std in SPREAD.items():
                if name.endswith(end):
                    value.normal_(0, std)
    return model


def reference(model, path):
    picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    resized = ResizeShortestEdge([800, 800], 1333).get_transform(picture).apply_image(picture)
    x = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
    start = time.perf_counter()
    with torch.no_grad():
        found = model([{"image": x, "height": picture.shape[0], "width": picture.shape[1]}])[0]["instances"]
    return found, time.perf_counter() - start


def main():
    model = build()
    with tempfile.TemporaryDirectory() as folder:
        weights, out = os.path.join(folder, "r50.pth"), os.path.join(folder, "out.json")
        torch.save({"model": model.state_dict()}, weights)
        for path in sys.argv[4:]:
            found, reference_seconds = reference(model, path)
            start = time.perf_counter()
            subprocess.run([USOL, "predict", path, "--weights", weights, "--out", out, "--score", "0", "--force", "-q",
                            "--threads", str(torch.get_num_threads())], check=True)
            seconds = time.perf_counter() - start
            with open(out) as file:
                ours = json.load(file)["annotations"]
            boxes = found.pred_boxes.tensor.numpy().copy()
            boxes[:, 2:] -= boxes[:, :2]
            line = f"{os.path.basename(path)}: {len(ours)} objects, reference {len(found)}"
            if len(ours) == len(found) > 0:
                largest = lambda key, theirs: np.abs(np.array([a[key] for a in ours]) - theirs).max()
                area = found.pred_masks.flatten(1).sum(1).numpy()
                line += (f"; score {largest('score', found.scores.numpy()):.1e}, box {largest('bbox', boxes):.1e} px, "
                         f"mask area {largest('area', area):.0f} px")
            print(f"{line}; {seconds:.1f} s with start and files, reference {reference_seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()

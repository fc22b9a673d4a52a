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

import numpy as np
import torch
from PIL import Image, ImageOps

from cutler_model import build

DETECTRON2, CUTLER, USOL = sys.argv[1:4]


def reference(model, path):
    from detectron2.data.transforms import ResizeShortestEdge  # build() has made it findable
    picture = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    resized = ResizeShortestEdge([800, 800], 1333).get_transform(picture).apply_image(picture)
    x = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
    start = time.perf_counter()
    with torch.no_grad():
        found = model([{"image": x, "height": picture.shape[0], "width": picture.shape[1]}])[0]["instances"]
    return found, time.perf_counter() - start


def main():
    model = build(DETECTRON2, CUTLER).eval()
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

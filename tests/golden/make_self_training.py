#!/usr/bin/env python3
"""Writes tests/golden/self_training.json: masks, predictions, and what CutLER's merging script makes of them.

usage: make_self_training.py SCRIPT OUT.json [--seed N]
       make_self_training.py SCRIPT OUT.json --previous A.json --predictions P.json --threshold T
SCRIPT is CutLER's cutler/tools/get_self_training_ann.py; it runs as it is, on the CPU. The second form merges two files
of any size and writes the script's own output.
"""
import argparse
import json
import runpy
import sys
import tempfile
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as M


def run_script(script, previous, predictions, threshold, out):
    """The script as __main__, with Detectron2's file opener and the GPU replaced by what is here."""
    file_io = types.ModuleType("detectron2.utils.file_io")
    file_io.PathManager = types.SimpleNamespace(open=open)
    for name in ("detectron2", "detectron2.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["detectron2.utils.file_io"] = file_io
    torch.Tensor.cuda = lambda self: self
    sys.argv = [str(script), "--prev-ann", str(previous), "--new-pred", str(predictions), "--save-path", str(out),
                "--threshold", str(threshold)]
    runpy.run_path(str(script), run_name="__main__")


def rle(mask):
    r = M.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": r["counts"].decode()}


def shape(rng, h, w):
    y, x = np.mgrid[:h, :w]
    cy, cx = rng.uniform(0.2 * h, 0.8 * h), rng.uniform(0.2 * w, 0.8 * w)
    ry, rx = rng.uniform(3, h / 3), rng.uniform(3, w / 3)
    if rng.random() < 0.5:
        return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    return (abs(y - cy) <= ry) & (abs(x - cx) <= rx)


def moved(rng, mask, most):
    return np.roll(mask, tuple(rng.integers(-most, most + 1, 2)), (0, 1))


def box_of(mask):
    if not mask.any():
        return [0.0, 0.0, 0.0, 0.0]
    ys, xs = np.nonzero(mask)
    return [float(v) for v in (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)]


def make_case(rng, pictures=14):
    images, annotations, predictions = [], [], []
    for i in rng.permutation(900)[:pictures] + 1:
        h, w = (int(v) for v in rng.integers(24, 60, 2))
        # The public code's MaskCut exchanges these.
        images.append({"id": int(i), "file_name": f"p{i}.jpg", "width": h, "height": w})
        masks = [shape(rng, h, w) for _ in range(rng.integers(0, 5))]
        masks = [m for m in masks if m.any()]
        for m in masks:
            annotations.append({"image_id": int(i), "category_id": 1, "iscrowd": 0, "area": int(m.sum()),
                                "bbox": box_of(m), "segmentation": rle(m), "width": w, "height": h})
        found = [moved(rng, m, int(rng.integers(1, 9))) for m in masks if rng.random() < 0.7]
        found += [shape(rng, h, w) for _ in range(rng.integers(0, 3))]
        if rng.random() < 0.2:
            found.append(np.zeros((h, w), bool))
        if rng.random() < 0.35 and h != w:  # a camera's orientation, applied to one of the two only
            found = [m.T for m in found]
        for m in found:
            x, y, bw, bh = box_of(m)
            jitter = [round(v, 3) for v in (x + 0.25, y + 0.125, bw * 0.97, bh * 1.01)]
            score = float(rng.choice([0.7, 0.6999999, 0.65, rng.uniform(0.3, 1)]))
            predictions.append({"image_id": int(i), "category_id": 1, "bbox": jitter, "score": score,
                                "segmentation": rle(m)})
    # The order of records is not that of pictures.
    annotations = [annotations[k] for k in rng.permutation(len(annotations))]
    predictions = [predictions[k] for k in rng.permutation(len(predictions))]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    return {"images": images, "annotations": annotations,
            "categories": [{"id": 1, "name": "fg", "supercategory": "fg"}]}, predictions


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--previous")
    parser.add_argument("--predictions")
    parser.add_argument("--threshold", type=float, default=0.7)
    args = parser.parse_args()
    if args.previous:
        run_script(args.script, args.previous, args.predictions, args.threshold, args.out)
        return
    rng = np.random.default_rng(args.seed)
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for threshold in (0.7, 0.65):
            previous, predictions = make_case(rng)
            (folder / "previous.json").write_text(json.dumps(previous))
            (folder / "predictions.json").write_text(json.dumps(predictions))
            run_script(args.script, folder / "previous.json", folder / "predictions.json", threshold,
                       folder / "merged.json")
            merged = json.loads((folder / "merged.json").read_text())
            cases.append({"threshold": threshold, "previous": previous, "predictions": predictions,
                          "images": merged["images"], "annotations": merged["annotations"]})
    versions = {name: version(name) for name in ("torch", "numpy", "pycocotools")}
    args.out.write_text(json.dumps({"versions": versions, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times `usol eval` against pycocotools on generated data of val2017's size, and compares their numbers.

usage: bench/coco_eval.py [--usol build/usol] [--folder /tmp/usol-bench] [--images 5000] [--threads N]

Generates 5000 images of about 640 x 480 with 36 000 truths in 80 categories (polygons and crowds) and 100 detections
with masks an image, once per folder. Each program runs in a process of its own: wall time (reading the files
included), CPU time and peak memory of each, for boxes and masks together as a user runs them, and for each alone.
"""
import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def polygon(rng, x, y, w, h, points):
    """A wobbly closed outline inside the box."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(0.7, 1, points)
    px, py = x + w / 2 * (1 + radius * np.cos(angles)), y + h / 2 * (1 + radius * np.sin(angles))
    return np.stack([px, py], 1).round(2).reshape(-1).tolist()


def generate(folder, images):
    from pycocotools import mask as M

    rng = np.random.default_rng(2017)
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    weights = rng.zipf(1.3, 80).clip(1, 60).astype(float)
    weights /= weights.sum()
    image_list, truths, detections = [], [], []
    for i in range(images):
        h, w = int(rng.integers(360, 641)), int(rng.integers(480, 641))
        image_id = int(i * 7 + 139)
        image_list.append({"id": image_id, "height": h, "width": w, "file_name": f"{image_id:012}.jpg"})
        boxes = []
        for _ in range(rng.poisson(7.2)):
            bw, bh = np.exp(rng.uniform(np.log(8), np.log(0.9 * w))), np.exp(rng.uniform(np.log(8), np.log(0.9 * h)))
            x, y = rng.uniform(0, w - bw), rng.uniform(0, h - bh)
            category = int(rng.choice(80, p=weights)) + 1
            boxes.append((x, y, bw, bh, category))
            parts = [polygon(rng, x, y, bw, bh, int(rng.integers(8, 40)))]
            crowd = bool(rng.random() < 0.01)
            rle = M.merge(M.frPyObjects(parts, h, w))
            box = [round(float(v), 2) for v in (x, y, bw, bh)]
            segmentation = parts
            if crowd:
                mask = M.decode(rle).reshape(-1, order="F")
                change = np.flatnonzero(np.diff(mask)) + 1
                counts = np.diff(np.concatenate([[0], change, [mask.size]])).tolist()
                segmentation = {"size": [h, w], "counts": [0] + counts if mask[0] else counts}
            truths.append({"id": len(truths) + 1, "image_id": image_id, "category_id": category, "bbox": box,
                           "area": round(float(M.area(rle)) * 0.98, 2), "iscrowd": int(crowd),
                           "segmentation": segmentation})
        for _ in range(100):
            if boxes and rng.random() < 0.6:
                x, y, bw, bh, category = boxes[rng.integers(len(boxes))]
                x, y = x + rng.normal(0, 0.1) * bw, y + rng.normal(0, 0.1) * bh
                bw, bh = bw * np.exp(rng.normal(0, 0.15)), bh * np.exp(rng.normal(0, 0.15))
                if rng.random() < 0.3:
                    category = int(rng.choice(80, p=weights)) + 1
            else:
                bw, bh = np.exp(rng.uniform(np.log(8), np.log(0.9 * w))), np.exp(rng.uniform(np.log(8), np.log(0.9 * h)))
                x, y, category = rng.uniform(0, w - bw), rng.uniform(0, h - bh), int(rng.choice(80, p=weights)) + 1
            rle = M.merge(M.frPyObjects([polygon(rng, x, y, bw, bh, int(rng.integers(8, 40)))], h, w))
            detections.append({"image_id": image_id, "category_id": category,
                               "bbox": [round(float(v), 2) for v in (x, y, bw, bh)],
                               "score": round(float(rng.random()), 5),
                               "segmentation": {"size": [h, w], "counts": rle["counts"].decode()}})
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "truth.json", "w") as f:
        json.dump({"images": image_list, "categories": categories, "annotations": truths}, f)
    with open(folder / "predictions.json.part", "w") as f:
        json.dump(detections, f)
    os.rename(folder / "predictions.json.part", folder / "predictions.json")


def reference(folder, types):
    """Runs in a process of its own. Masks are scored with the mask's area, as Detectron2 does."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    out = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        with open(folder / "predictions.json") as f:
            detections = json.load(f)
        for name in types:
            if name == "mask":
                detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
            e = COCOeval(truth, truth.loadRes([dict(d) for d in detections]), "bbox" if name == "box" else "segm")
            e.evaluate()
            e.accumulate()
            e.summarize()
            out[name] = dict(zip(NAMES, e.stats.tolist()))
    json.dump(out, sys.stdout)


def measure(command):
    """Wall seconds, CPU seconds, peak MB and standard output of a child process."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--usol", default="build/usol")
    arguments.add_argument("--folder", type=Path, default=Path("/tmp/usol-bench"))
    arguments.add_argument("--images", type=int, default=5000)
    arguments.add_argument("--threads", default="0")
    arguments.add_argument("--reference", help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.reference:
        reference(args.folder, args.reference.split(","))
        return
    if not (args.folder / "predictions.json").exists():
        generate(args.folder, args.images)
    for name in ("truth.json", "predictions.json"):
        print(f"{name}: {(args.folder / name).stat().st_size / 1e6:.1f} MB")
    out = args.folder / "metrics.json"
    print(f"{'':10}{'program':14}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}")
    for types in ("box", "mask", "box,mask"):
        ours = measure([args.usol, "eval", "--gt", str(args.folder / "truth.json"), "--pred",
                        str(args.folder / "predictions.json"), "--iou", types, "--out", str(out), "--force", "-q",
                        "--threads", args.threads])
        theirs = measure([sys.executable, __file__, "--folder", str(args.folder), "--reference", types])
        print(f"{types:10}{'usol':14}{ours[0]:8.2f}{ours[1]:8.2f}{ours[2]:9.0f}")
        print(f"{'':10}{'pycocotools':14}{theirs[0]:8.2f}{theirs[1]:8.2f}{theirs[2]:9.0f}")
        metrics, expected = json.loads(out.read_text()), json.loads(theirs[3])
        worst = max(abs(metrics[t][n] - expected[t][n]) for t in expected for n in NAMES)
        print(f"{'':10}{theirs[0] / ours[0]:.1f} times faster, {theirs[2] / ours[2]:.1f} times less memory; "
              f"largest difference of any metric {worst:.1e}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/rle.json: masks, polygons, merges and IoUs as pycocotools computes them.

usage: make_rle.py OUT.json [--scale N]     (N times as many cases, for a longer run of tests/io/rle_test)
"""
import argparse
import json
from importlib.metadata import version

import numpy as np
from pycocotools import mask as M


def text(rle):
    return rle["counts"].decode()


def blob(rng, h, w):
    """A mask: a union of ellipses, speckle, stripes, or nothing, or everything."""
    kind = rng.integers(7)
    y, x = np.mgrid[:h, :w]
    m = np.zeros((h, w), np.uint8)
    if kind < 3:
        for _ in range(rng.integers(1, 4)):
            cy, cx = rng.uniform(0, h), rng.uniform(0, w)
            ry, rx = rng.uniform(0.5, h), rng.uniform(0.5, w)
            m |= (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 0.4).astype(np.uint8)
    elif kind == 3:
        m = (rng.random((h, w)) < rng.random()).astype(np.uint8)
    elif kind == 4:
        m = ((x // rng.integers(1, 4)) % 2).astype(np.uint8)
    elif kind == 5:
        m[:] = 1
    return np.asfortranarray(m)


def polygon(rng, h, w):
    kind = rng.integers(6)
    n = int(rng.integers(3, 12))
    if kind == 0:  # anywhere, also outside
        p = rng.uniform(-0.3, 1.3, (n, 2)) * [w, h]
    elif kind == 1:  # whole numbers, repeated points
        p = np.repeat(rng.integers(0, max(h, w) + 1, (n, 2)), rng.integers(1, 3, n), axis=0).astype(float)
    elif kind == 2:  # two decimals, as COCO's files have them
        a = np.sort(rng.uniform(0, 2 * np.pi, n))
        p = np.stack([w / 2 + np.cos(a) * w * rng.uniform(0.1, 0.6), h / 2 + np.sin(a) * h * rng.uniform(0.1, 0.6)], 1).round(2)
    elif kind == 3:  # tiny
        p = rng.uniform(0, 1.5, (n, 2)) + rng.uniform(0, 1, 2) * [w, h]
    elif kind == 4:  # on the grid of tenths, where rounding is decided
        p = rng.integers(-5, 10 * max(h, w) + 5, (n, 2)) / 10
    else:  # far away
        p = rng.uniform(-40, 40, (n, 2)) * [w, h]
    return p.reshape(-1).tolist()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out")
    arguments.add_argument("--scale", type=int, default=1)
    args = arguments.parse_args()
    rng = np.random.default_rng(7)
    out = {"versions": {"pycocotools": version("pycocotools"), "numpy": np.__version__},
           "masks": [], "polygons": [], "boxes": [], "merges": [], "ious": [], "box_ious": []}

    def size(limit):
        return int(rng.integers(1, limit)), int(rng.integers(1, limit))

    for _ in range(40 * args.scale):
        h, w = size(24)
        m = blob(rng, h, w)
        r = M.encode(m)
        out["masks"].append({"size": [h, w], "rows": ["".join(map(str, row)) for row in m.tolist()], "counts": text(r),
                             "area": int(M.area(r)), "box": M.toBbox(r).tolist()})
    for _ in range(150 * args.scale):
        h, w = size(70)
        polygons = [polygon(rng, h, w) for _ in range(rng.integers(1, 4))]
        r = M.merge(M.frPyObjects(polygons, h, w))
        out["polygons"].append({"size": [h, w], "polygons": polygons, "counts": text(r), "area": int(M.area(r)),
                                "box": M.toBbox(r).tolist()})
    for _ in range(30 * args.scale):
        h, w = size(60)
        b = (rng.uniform(-0.2, 1, 4) * [w, h, w, h]).round(int(rng.integers(0, 3)))
        b[2:] = abs(b[2:])
        out["boxes"].append({"size": [h, w], "box": b.tolist(), "counts": text(M.frPyObjects(b[None], h, w)[0])})
    for _ in range(30 * args.scale):
        h, w = size(30)
        masks = [M.encode(blob(rng, h, w)) for _ in range(rng.integers(1, 5))]
        out["merges"].append({"size": [h, w], "masks": [text(m) for m in masks], "union": text(M.merge(masks)),
                              "intersection": text(M.merge(masks, True))})
    for _ in range(12 * args.scale):
        h, w = size(40)
        d = [M.encode(blob(rng, h, w)) for _ in range(rng.integers(1, 6))]
        g = [M.encode(blob(rng, h, w)) for _ in range(rng.integers(1, 6))]
        crowd = rng.integers(0, 2, len(g)).tolist()
        out["ious"].append({"size": [h, w], "detections": [text(m) for m in d], "truths": [text(m) for m in g],
                            "crowd": crowd, "iou": M.iou(d, g, crowd).tolist()})
    for _ in range(12 * args.scale):
        d = rng.uniform(-2, 30, (rng.integers(1, 7), 4)).round(int(rng.integers(0, 4)))
        g = rng.uniform(-2, 30, (rng.integers(1, 7), 4)).round(int(rng.integers(0, 4)))
        crowd = rng.integers(0, 2, len(g)).tolist()
        out["box_ious"].append({"detections": d.tolist(), "truths": g.tolist(), "crowd": crowd,
                                "iou": M.iou(d, g, crowd).tolist()})
    with open(args.out, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()

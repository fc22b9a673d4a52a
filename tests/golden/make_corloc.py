#!/usr/bin/env python3
"""Writes tests/golden/corloc.json: truths, and how many images each of some constant boxes gets right, by trying all.

usage: make_corloc.py OUT.json
"""
import json
import sys

import numpy as np

STEPS = 20


def iou(box, truths):
    """box and truths: left, top, right, bottom."""
    low = np.maximum(box[:2], truths[:, :2])
    high = np.minimum(box[2:], truths[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(truths[:, 2:] - truths[:, :2], axis=1)
    return common / (np.prod(box[2:] - box[:2]) + area - common)


def main():
    rng = np.random.default_rng(5)
    images = []
    for _ in range(24):
        size = rng.integers(40, 200, 2)  # width, height
        corners = []
        for _ in range(rng.integers(1, 4)):
            low = rng.uniform(0, 0.6, 2)
            high = low + rng.uniform(0.1, 1, 2) * (1 - low)
            corners.append(np.concatenate([np.floor(low * size), np.ceil(high * size)]))
        images.append((size, np.array(corners)))
    right = {}
    for left in range(STEPS):
        for end in range(left + 1, STEPS + 1):
            for top in range(STEPS):
                for bottom in range(top + 1, STEPS + 1):
                    box = np.array([left, top, end, bottom]) / STEPS
                    right[left, end, top, bottom] = sum(
                        bool((iou(box * np.tile(size, 2), truths) >= 0.5).any()) for size, truths in images)
    best = max(right.values())
    first = min(box for box, count in right.items() if count == best)
    out = {"versions": {"numpy": np.__version__},
           "images": [{"size": size.tolist(), "corners": truths.astype(int).tolist()} for size, truths in images],
           "best": {"right": best, "left_right_top_bottom": list(first)},
           "whole_frame": right[0, STEPS, 0, STEPS]}
    with open(sys.argv[1], "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/saliency.json: maps, truths, and what the metric code of TokenCut and FOUND makes of them.

usage: make_saliency.py TOKENCUT FOUND OUT.json     (TOKENCUT, FOUND: checkouts of the two repositories)
"""
import importlib.util
import json
import sys

import numpy as np
import torch


def load(path):
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def soft(m):
    """8-bit levels as fractions, a quarter of a level lower: so "above i / 255" is decided by no rounding error."""
    return (m - 0.25) / 255


def main():
    tokencut = load(sys.argv[1] + "/unsupervised_saliency_detection/metric.py")
    found = load(sys.argv[2] + "/evaluation/metrics/f_measure.py")
    rng = np.random.default_rng(3)
    maps, truths = [], []
    for n in range(8):
        h, w = rng.integers(9, 25, 2)
        y, x = np.mgrid[:h, :w]
        truth = ((y - h / 2) ** 2 + (x - w / 2) ** 2 < (min(h, w) * rng.uniform(0.2, 0.5)) ** 2).astype(np.uint8)
        level = 170 * truth + rng.integers(0, 86, (h, w)) if n < 5 else rng.integers(0, 256, (h, w))
        if n == 6:
            level = 255 * truth
        if n == 7:
            level = np.zeros((h, w))
        maps.append(level.astype(np.uint8))
        truths.append(truth * 255)
    f_max = []
    for m, t in zip(maps, truths):
        f_max.append(found.FMeasure()(torch.from_numpy(soft(m)).float(), torch.from_numpy(t) == 255)["f_max"].item())
    result = tokencut.metrics([soft(m) for m in maps], truths)
    out = {"versions": {"torch": torch.__version__, "numpy": np.__version__},
           "maps": [m.tolist() for m in maps], "truths": [t.tolist() for t in truths],
           "IoU": result["IoU"], "accuracy": result["accuracy"], "max_F_beta": result["F_max"],
           "FOUND_max_F_beta": float(np.mean(f_max))}
    with open(sys.argv[3], "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()

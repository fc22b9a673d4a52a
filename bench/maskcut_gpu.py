#!/usr/bin/env python3
"""Pictures per second of `usol maskcut --device cuda`, and its masks beside the CPU's.

usage: maskcut_gpu.py USOL PICTURES --out DIR [--weights FILE] [--batch N] [--repeat R] [--size PX]

USOL is the binary with CUDA (or the words of a command that starts it), PICTURES a folder. The pictures are linked R and 3 R times into folders of their own; the
rate is that of the pictures that the larger run has more, so that starting up does not count. Without --weights a
ViT-B/8 with random weights is made (the time of a forward pass is the same, the cuts are other ones).
Prints one line of JSON.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import time

import random_vit


def link_pictures(source, folder, times):
    os.makedirs(folder, exist_ok=True)
    names = sorted(n for n in os.listdir(source) if n.lower().endswith((".jpg", ".jpeg", ".png")))
    for k in range(times):
        for name in names:
            target = os.path.join(folder, f"{k:04d}_{name}")
            if not os.path.lexists(target):
                os.symlink(os.path.abspath(os.path.join(source, name)), target)
    return times * len(names)


def run(arguments, folder, out, *more):
    start = time.perf_counter()
    subprocess.run(
        [*shlex.split(arguments.usol), "maskcut", folder, "--weights", arguments.weights, "--out", out, "--force", "-q",
         "--size", str(arguments.size), *more],
        check=True,
    )
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("usol")
    parser.add_argument("pictures")
    parser.add_argument("--out", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--size", type=int, default=480)
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    result = {"weights": arguments.weights or "random ViT-B/8", "batch": arguments.batch}
    if not arguments.weights:
        arguments.weights = os.path.join(arguments.out, "random_vitb8.safetensors")
        random_vit.write(arguments.weights)
    counts, seconds = [], []
    for factor in (1, 3):
        folder = os.path.join(arguments.out, f"pictures_{factor}")
        counts.append(link_pictures(arguments.pictures, folder, factor * arguments.repeat))
        out = os.path.join(arguments.out, f"masks_{factor}.json")
        seconds.append(run(arguments, folder, out, "--device", "cuda", "--batch", str(arguments.batch)))
    result["images"] = counts
    result["seconds"] = [round(s, 3) for s in seconds]
    result["images_per_second"] = round((counts[1] - counts[0]) / (seconds[1] - seconds[0]), 2)
    masks = {}
    for device in ("cuda", "cpu"):
        out = os.path.join(arguments.out, f"once_{device}.json")
        run(arguments, arguments.pictures, out, "--device", device)
        with open(out) as file:
            masks[device] = [
                (a["image_id"], json.dumps(a["segmentation"], sort_keys=True)) for a in json.load(file)["annotations"]
            ]
    same = len(set(masks["cuda"]) & set(masks["cpu"]))
    result["masks"] = {"cuda": len(masks["cuda"]), "cpu": len(masks["cpu"]), "identical": same}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

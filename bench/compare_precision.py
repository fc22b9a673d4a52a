#!/usr/bin/env python3
"""How far bf16 changes masks and figures: usol in f32 and in bf16 on the same pictures. Needs no package.

usage: compare_precision.py USOL_BINARY PICTURES WEIGHTS... [--verb maskcut|predict] [--annotations TRUTH.json]
       [-- FURTHER OPTIONS OF THE VERB]

For each file of weights, the masks of f32 beside those of bf16: how many pictures have equally many, and for every mask of
f32 the best overlap (IoU) with one of bf16: the mean, the least, and how many are equal pixel for pixel. With
annotations also the average precision and recall of both. bf16 may be taken for f32 where the mean is at least 0.99.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def run_lengths(rle):
    """COCO's run lengths: a list, or its text (five bits a character, differences to the run before the last)."""
    counts = rle["counts"]
    if isinstance(counts, list):
        return counts
    out, at = [], 0
    while at < len(counts):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(counts[at]) - 48
            value |= (bits & 0x1f) << shift
            more, shift, at = bool(bits & 0x20), shift + 5, at + 1
            if not more and bits & 0x10:
                value -= 1 << shift
        out.append(value + (out[-2] if len(out) > 2 else 0))
    return out


def overlap(a, b):
    """IoU of two masks by their run lengths."""
    first, second = run_lengths(a), run_lengths(b)
    i = j = both = either = 0
    left, right, in_a, in_b = first[0], second[0], False, False
    while i < len(first) and j < len(second):
        step = min(left, right)
        both += step * (in_a and in_b)
        either += step * (in_a or in_b)
        left, right = left - step, right - step
        while left == 0 and i < len(first):
            i, in_a = i + 1, not in_a
            left = first[i] if i < len(first) else 0
        while right == 0 and j < len(second):
            j, in_b = j + 1, not in_b
            right = second[j] if j < len(second) else 0
    return both / either if either else 1.0


def masks_of(path):
    with open(path) as file:
        data = json.load(file)
    annotations = data["annotations"] if isinstance(data, dict) else data
    found = {}
    for annotation in annotations:
        found.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    return found, {image["id"] for image in data["images"]} if isinstance(data, dict) else set(found)


def figures(usol, verb, truth, masks, folder, name):
    out = os.path.join(folder, name + "-metrics.json")
    kind = "--pseudo-masks" if verb == "maskcut" else "--class-agnostic"
    subprocess.run([usol, "eval", "--gt", truth, "--pred", masks, kind, "--match", "file_name", "--out", out], check=True,
                   capture_output=True)
    with open(out) as file:
        metrics = json.load(file)
    return {kind: {name: round(metrics[kind][name], 5) for name in ("AP", "AP50", "AR100")} for kind in ("box", "mask")}


def main():
    words, further = sys.argv[1:], []
    if "--" in words:
        further = words[words.index("--") + 1:]
        words = words[:words.index("--")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("usol")
    parser.add_argument("pictures")
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--verb", choices=["maskcut", "predict"], default="maskcut")
    parser.add_argument("--annotations")
    args = parser.parse_args(words)
    for weights in args.weights:
        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for precision in ("f32", "bf16"):
                files[precision] = os.path.join(folder, precision + ".json")
                subprocess.run([args.usol, args.verb, args.pictures, "--weights", weights, "--out", files[precision],
                                "--precision", precision, "--quiet", *further], check=True)
            (exact, pictures), (rounded, _) = masks_of(files["f32"]), masks_of(files["bf16"])
            best = [max((overlap(mask, other) for other in rounded.get(image, [])), default=0.0)
                    for image, masks in exact.items() for mask in masks]
            equal = sum(len(exact.get(image, [])) == len(rounded.get(image, [])) for image in pictures)
            print(f"{os.path.basename(weights)}, {args.verb}: {len(pictures)} pictures, {equal} with equally many masks; "
                  f"{len(best)} masks, IoU {sum(best) / max(1, len(best)):.4f} in the mean, {min(best, default=1):.4f} at "
                  f"least, {sum(x == 1 for x in best)} equal", flush=True)
            if args.annotations:
                for precision, path in files.items():
                    print(f"  {precision}:", json.dumps(figures(args.usol, args.verb, args.annotations, path, folder, precision)))


if __name__ == "__main__":
    main()

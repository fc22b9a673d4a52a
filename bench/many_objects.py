#!/usr/bin/env python3
"""Time and memory of `usol group` and of its page with a hundred thousand and a million objects.

usage: bench/many_objects.py [--usol build/usol] [--folder /tmp/usol-bench-groups] [--objects 100000,1000000]
       [--only CASE,...] [--threads N]

Generates pictures of 64 x 64 pixels with four objects each, a small mask in each quarter, and a file of 2 x 2 features
for each picture, once per folder (a million objects: 3.6 GB, ten minutes). A feature is a unit vector of 384 numbers,
as large as DINO's ViT-S makes them: one direction that all share, one of its kind (100 kinds, a few of them frequent),
and noise, so that the cosines within a kind are about 0.65, between kinds 0.25. Each case runs in a process of its own,
as a user runs it; wall time, CPU time and peak memory are the process's, and the pages it wrote are measured, too.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np

DIM, KINDS, SIDE, QUARTER = 384, 100, 64, 32
LINKS = 30000  # names of one file; file systems allow some 65000


def png(side):
    rows = b"".join(b"\0" + bytes(v for x in range(side) for v in (4 * x % 256, 4 * y % 256, 96)) for y in range(side))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)


def npy(array):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {array.shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + array.tobytes()


def mask(rng, quarter):
    """Run lengths, column by column, of an ellipse inside the quarter; its box and area."""
    top, left = QUARTER * (quarter // 2), QUARTER * (quarter % 2)
    centre, radius = rng.uniform(14, 18, 2), rng.uniform(8, 13, 2)
    y, x = np.mgrid[0:QUARTER, 0:QUARTER]
    inside = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1
    whole = np.zeros((SIDE, SIDE), np.uint8)
    whole[top:top + QUARTER, left:left + QUARTER] = inside
    flat = whole.reshape(-1, order="F")
    change = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], change, [flat.size]])).tolist()
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    return {"bbox": box, "area": int(whole.sum()), "segmentation": {"size": [SIDE, SIDE], "counts": counts}}


def generate(folder, objects):
    rng = np.random.default_rng(17)
    shared = rng.normal(size=DIM)
    shared /= np.linalg.norm(shared)
    kinds = rng.normal(size=(KINDS, DIM)) / np.sqrt(DIM)
    shares = 1 / np.arange(1, KINDS + 1) ** 0.7
    shares /= shares.sum()
    masks = [[json.dumps(mask(rng, q))[1:] for _ in range(64)] for q in range(4)]
    picture, features = folder / "photos", folder / "features"
    images = []
    with open(folder / "annotations.part", "w") as annotations:
        for i in range((objects + 3) // 4):
            name = f"{i // 1000:04}/{i:07}"
            if i % 1000 == 0:
                for parent in (picture, features):
                    (parent / name).parent.mkdir(parents=True)
            source = folder / f"picture{i // LINKS}.png"
            if i % LINKS == 0:
                source.write_bytes(png(SIDE))
            os.link(source, picture / f"{name}.png")
            of_kind = rng.choice(KINDS, 4, p=shares)
            vectors = 0.5 * shared + 0.63 * kinds[of_kind] + rng.normal(size=(4, DIM)) * (0.59 / np.sqrt(DIM))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            (features / f"{name}.npy").write_bytes(npy(np.ascontiguousarray(vectors.T.reshape(DIM, 2, 2), np.float32)))
            images.append({"id": i + 1, "width": SIDE, "height": SIDE, "file_name": f"{name}.png"})
            for q in range(4):
                annotations.write(f'{{"id": {4 * i + q + 1}, "image_id": {i + 1}, "category_id": 1, "iscrowd": 0, '
                                  f'"score": {rng.random():.5f}, {masks[q][rng.integers(64)]},\n')
    text = (folder / "annotations.part").read_text().rstrip(",\n")
    os.remove(folder / "annotations.part")
    with open(folder / "objects.json.part", "w") as f:
        f.write(f'{{"images": {json.dumps(images)},\n"categories": [{{"id": 1, "name": "fg"}}],\n"annotations": [\n')
        f.write(text + "\n]}\n")
    os.rename(folder / "objects.json.part", folder / "objects.json")


def measure(command):
    """Wall seconds, CPU seconds, peak MB and what a child process said."""
    start = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--usol", default="build/usol")
    arguments.add_argument("--folder", type=Path, default=Path("/tmp/usol-bench-groups"))
    arguments.add_argument("--objects", default="100000,1000000")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--threads", default="0")
    args = arguments.parse_args()
    only = set(filter(None, args.only.split(",")))
    print("| objects | command | wall | CPU | peak memory | what it wrote |\n|---|---|---|---|---|---|")
    for objects in map(int, args.objects.split(",")):
        folder = args.folder / str(objects)
        if not (folder / "objects.json").exists():
            folder.mkdir(parents=True)
            generate(folder, objects)
        group = [args.usol, "group", folder / "objects.json", "--image-root", folder / "photos", "--from-features",
                 folder / "features", "--vectors", folder / "vectors", "--force", "--threads", args.threads]
        names = folder / "names.txt"
        names.write_text("".join(f"{g}, {'thing' if g % 3 else 'animal'}\n" for g in range(1, 11)))
        cases = {
            "describe": (group + ["--groups", "20"], "groups20.json", "describing them, and `--groups 20`"),
            "20": (group + ["--groups", "20"], "groups20.json", "`--groups 20`"),
            "100": (group + ["--groups", "100"], "groups100.json", "`--groups 100`"),
            "criterion": (group, "criterion.json", "as many as have the largest silhouette"),
            "agglomerate": (group + ["--method", "agglomerate", "--threshold", "0.5"], "agglomerate.json",
                            "`--method agglomerate --threshold 0.5`"),
            "close": (group + ["--method", "agglomerate", "--threshold", "0.1"], "close.json",
                      "`--method agglomerate --threshold 0.1`"),
            "report": ([args.usol, "report", folder / "groups20.json", "--images", folder / "photos", "--force"],
                       "groups20.html", "`usol report`, 20 groups"),
            "report-close": ([args.usol, "report", folder / "close.json", "--images", folder / "photos", "--force"],
                             "close.html", "`usol report`, thousands of groups"),
            "names": ([args.usol, "group", folder / "groups20.json", "--names", names, "--force"], "named.json",
                      "`usol group --names`"),
        }
        for case, (command, out, words) in cases.items():
            if only and case not in only:
                continue
            if case == "describe" and (folder / "vectors").exists():
                continue
            wall, cpu, peak, said = measure(list(map(str, command + ["--out", folder / out])))
            print(f"| {objects} | {words} | {wall:.1f} s | {cpu:.1f} s | {peak:.0f} MB | "
                  f"{(folder / out).stat().st_size / 1e6:.1f} MB |", flush=True)
            print(said.strip().splitlines()[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""One whole picture, decode to annotations: the reference beside usol, in one run.

usage: compare_image.py USOL_BINARY CUTLER_CHECKOUT TOKENCUT_CHECKOUT PICTURE [--arch base] [--patch 8] [--repeats 1]
Random weights (the time does not depend on them), saved once and read by both. The reference's own functions are
called as its maskcut.py does on a CPU; the CRF needs pydensecrf and is left out where that is not installed.
For PyTorch at its best set
GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch


def timed(function):
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("usol")
    parser.add_argument("cutler")
    parser.add_argument("tokencut")
    parser.add_argument("picture")
    parser.add_argument("--arch", default="base", choices=["small", "base"])
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    for name in ("usol", "cutler", "tokencut", "picture"):  # the reference's module must find its own folder as ".."
        setattr(args, name, os.path.abspath(getattr(args, name)))
    folder = tempfile.mkdtemp()
    os.symlink(args.tokencut, os.path.join(folder, "TokenCut"))
    sys.path[:0] = [folder, os.path.join(args.cutler, "maskcut")]
    try:
        import pydensecrf.densecrf  # noqa: F401
        with_crf = True
    except ImportError:  # the reference's module cannot be imported without it
        import types
        with_crf = False
        sys.modules["crf"] = types.SimpleNamespace(densecrf=None)
    os.chdir(folder)
    import dino
    import maskcut

    torch.manual_seed(0)
    weights = os.path.join(folder, "weights.pth")
    make = dino.vit_base if args.arch == "base" else dino.vit_small
    model = make(patch_size=args.patch, num_classes=0)
    with torch.no_grad():  # the initial weights make all patches alike
        for p in model.parameters():
            if p.ndim >= 2:
                p.mul_(2.0)
    torch.save(model.state_dict(), weights)
    del model
    torch.hub.load_state_dict_from_url = lambda path: torch.load(path)
    width = 768 if args.arch == "base" else 384
    backbone = dino.ViTFeat(weights, width, args.arch, "k", args.patch).eval()

    spent = {"features": 0.0, "cuts": 0.0, "crf": 0.0}
    forward = maskcut.maskcut_forward

    def watched(*a, **k):
        seconds, value = timed(lambda: forward(*a, **k))
        spent["cuts"] += seconds
        return value

    maskcut.maskcut_forward = watched

    def reference():
        spent.update(features=0.0, cuts=0.0, crf=0.0)
        with torch.no_grad():
            total, (masks, _, picture) = timed(
                lambda: maskcut.maskcut(args.picture, backbone, args.patch, 0.15, N=3, fixed_size=480, cpu=True))
        spent["features"] = total - spent["cuts"]
        if with_crf:
            spent["crf"], _ = timed(lambda: [maskcut.densecrf(np.array(picture), m) for m in masks])
        return sum(spent.values()), dict(spent)

    theirs = min((reference() for _ in range(args.repeats)), key=lambda r: r[0])
    more = os.path.join(folder, "copies")
    os.mkdir(more)
    for i in range(3):
        shutil.copy(args.picture, os.path.join(more, f"{i}_{os.path.basename(args.picture)}"))

    def usol(pictures):
        command = [args.usol, "maskcut", pictures, "--weights", weights, "--out", os.path.join(folder, "out.json"),
                   "--preset", "release", "--force"] + ([] if with_crf else ["--no-crf"])
        return min(timed(lambda: subprocess.run(command, check=True, capture_output=True))[0]
                   for _ in range(args.repeats + 1))

    whole = usol(args.picture)
    ours = (usol(more) - whole) / 2  # what one more picture takes: the reference is timed with its weights loaded
    parts = ", ".join(f"{k} {v:.2f}" for k, v in theirs[1].items())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, ViT-{args.arch}/{args.patch} at 480, "
          f"CRF {'included' if with_crf else 'left out on both sides'}")
    print(f"reference {theirs[0]:.2f} s ({parts}); usol {ours:.2f} s a picture, ratio {theirs[0] / ours:.1f}; "
          f"a command of one picture {whole:.2f} s, ratio {theirs[0] / whole:.1f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Features of official-size vision transformers, ours beside PyTorch: same random weights, same picture.

usage: compare_vit.py USOL_BINARY DINO_CHECKOUT PICTURE [--models tiny,vits16,vits8,vitb8] [--size 480]
Saves each checkpoint with torch.save, runs `usol features` on it and prints max|a-b| / max|b|. PyTorch is timed on
what the reference runs (the whole network) and on the part that the features need. usol's time a picture is what three
more pictures add to a command. The floor is the products' operations over the rate that PyTorch's (MKL's) 2048^3 product
keeps up for three seconds, just before or just after (the better).
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
from PIL import Image
from safetensors.torch import load_file


def best_of(function, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def needed_part(model, x):
    """Keys of the last block, without its attention and MLP."""
    t = model.prepare_tokens(x)
    for block in model.blocks[:-1]:
        t = block(t)
    t, qkv, d = model.blocks[-1].norm1(t), model.blocks[-1].attn.qkv, t.shape[-1]
    return torch.nn.functional.linear(t, qkv.weight[d:2 * d], qkv.bias[d:2 * d])[0, 1:].T


def product_rate(seconds=3):
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        products += 1
    return products * 2 * 2048**3 / (time.perf_counter() - start)


def operations(model, tokens):
    """Products of what the features need: all blocks but the last, its keys, and the patches."""
    width = model.embed_dim
    block = 2 * tokens * width * 12 * width + 4 * tokens * tokens * width
    return (len(model.blocks) - 1) * block + 2 * tokens * width * width + 2 * tokens * model.patch_embed.proj.weight.numel()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("usol")
    parser.add_argument("dino")
    parser.add_argument("picture")
    parser.add_argument("--models", default="tiny,vits16,vits8,vitb8")
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    sys.path.insert(0, args.dino)
    import vision_transformer as vits

    make = {"tiny": lambda: vits.vit_tiny(patch_size=16), "vits16": lambda: vits.vit_small(patch_size=16),
            "vits8": lambda: vits.vit_small(patch_size=8), "vitb16": lambda: vits.vit_base(patch_size=16),
            "vitb8": lambda: vits.vit_base(patch_size=8)}
    picture = Image.open(args.picture).convert("RGB").resize((args.size, args.size), Image.LANCZOS)
    x = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float().div(255)
    x = ((x - torch.tensor([.485, .456, .406])[:, None, None]) / torch.tensor([.229, .224, .225])[:, None, None])[None]
    print("torch", torch.__version__, "threads", torch.get_num_threads())
    for name in args.models.split(","):
        torch.manual_seed(0)
        model = make[name]().eval()
        with torch.no_grad():  # the initial weights make all patches alike
            for p in model.parameters():
                if p.ndim >= 2:
                    p.mul_(2.0)
            expected = needed_part(model, x)
            whole = best_of(lambda: model(x), args.repeats)
            part = best_of(lambda: needed_part(model, x), args.repeats)
        with tempfile.TemporaryDirectory() as folder:
            weights, out = os.path.join(folder, name + ".pth"), os.path.join(folder, "out")
            torch.save(model.state_dict(), weights)
            copies = os.path.join(folder, "copies")
            os.mkdir(copies)
            for i in range(4):
                shutil.copy(args.picture, os.path.join(copies, f"{i}.jpg"))

            def usol(pictures):
                command = [args.usol, "features", pictures, "--weights", weights, "--out", out, "--size", str(args.size),
                           "--force"]
                return best_of(lambda: subprocess.run(command, check=True, capture_output=True), args.repeats)

            rate = product_rate()
            four, one = usol(copies), usol(args.picture)
            rate = max(rate, product_rate())
            stem = os.path.splitext(os.path.basename(args.picture))[0]
            got = load_file(os.path.join(out, stem + ".safetensors"))["features"].flatten(1)
        error = ((got - expected).abs().max() / expected.abs().max()).item()
        tokens = x.shape[-1] * x.shape[-2] // model.patch_embed.patch_size**2 + 1
        ours, floor = (four - one) / 3, operations(model, tokens) / rate
        print(f"{name}: error {error:.1e}; usol {ours:.2f} s a picture, {ours / floor:.2f} times the floor of {floor:.2f} s "
              f"(products at {rate / 1e9:.0f} GFLOP/s); a command of one picture {one:.2f} s; "
              f"PyTorch: whole net {whole:.2f} s, needed part {part:.2f} s")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Features of vision transformers: usol beside PyTorch, onnxruntime and OpenVINO, in f32 and in bf16, in turns.

usage: compare_runtimes.py USOL_BINARY [--models vits16,vitb8] [--size 480] [--rounds 2] [--only NAME,...]
       [--bench USOL_BENCH]

Needs the PyPI packages numpy, torch, onnx, onnxruntime and openvino; what is not installed is left out. All run the same
random weights (random_vit.py) on the same picture, and only what the features need: the last block's keys. Every
round measures each of them once; the best counts. Start and weights are left out of all: a time is for usol a quarter of
what a command of eight pictures takes longer than one of four (decoding and writing included; a single picture would
not do, since its start has idle cores), for the others a third of three calls on an array in memory, after a first
one. The error is max|a - b| / max|b| against PyTorch's f32.

With --bench every round also measures what the machine multiplies from registers alone (usol_bench's peak/f32 and
peak/bf16), and a line says how long the products of one picture take at that: the floor.

"fused" is onnxruntime's MultiHeadAttention in place of products and a softmax; "SDPA" the same in PyTorch.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import random_vit  # noqa: E402

MODELS = {"vits16": (384, 12, 16, 14), "vits8": (384, 12, 8, 28), "vitb16": (768, 12, 16, 14), "vitb8": (768, 12, 8, 28)}
HEAD_WIDTH = 64


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def as_onnx(weights, tokens, depth, fused):
    """Tokens [1, L, D] -> keys of the last block [1, L, D]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    width = weights["cls_token"].shape[-1]
    heads = width // HEAD_WIDTH
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind, inputs, **attributes):
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def linear(x, name, rows=slice(None)):
        product = node("MatMul", [x, constant(name + ".w", weights[name + ".weight"][rows].T)])
        return node("Add", [product, constant(name + ".b", weights[name + ".bias"][rows])])

    def norm(x, name):
        return node("LayerNormalization", [x, constant(name + ".w", weights[name + ".weight"]),
                                           constant(name + ".b", weights[name + ".bias"])], axis=-1, epsilon=1e-6)

    split = constant("split", np.array([0, 0, heads, HEAD_WIDTH], np.int64))
    merged = constant("merged", np.array([0, 0, width], np.int64))
    scale = constant("scale", np.array(HEAD_WIDTH**-0.5, np.float32))
    root2, half, one = (constant(n, np.array(v, np.float32)) for n, v in (("root2", 2**0.5), ("half", 0.5), ("one", 1)))
    x = "tokens"
    for block in range(depth):
        at = f"blocks.{block}."
        y = norm(x, at + "norm1")
        parts = [slice(i * width, (i + 1) * width) for i in range(3)]
        if block == depth - 1:
            nodes.append(helper.make_node("Identity", [linear(y, at + "attn.qkv", parts[1])], ["keys"]))
            break
        qkv = linear(y, at + "attn.qkv")
        thirds = [f"{at}{c}" for c in "qkv"]
        nodes.append(helper.make_node("Split", [qkv], thirds, axis=2, num_outputs=3))
        if fused:
            y = node("MultiHeadAttention", thirds, domain="com.microsoft", num_heads=heads)
        else:
            q, k, v = (node("Transpose", [node("Reshape", [t, split])], perm=perm)
                       for t, perm in zip(thirds, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])))
            scores = node("Mul", [node("MatMul", [q, k]), scale])
            y = node("Transpose", [node("MatMul", [node("Softmax", [scores], axis=-1), v])], perm=[0, 2, 1, 3])
            y = node("Reshape", [y, merged])
        x = node("Add", [x, linear(y, at + "attn.proj")])
        y = linear(norm(x, at + "norm2"), at + "mlp.fc1")
        gelu = node("Mul", [node("Mul", [y, half]), node("Add", [node("Erf", [node("Div", [y, root2])]), one])])
        x = node("Add", [x, linear(gelu, at + "mlp.fc2")])
    shape = [1, tokens, width]
    graph = helper.make_graph(nodes, "vit", [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("keys", TensorProto.FLOAT, shape)], constants)
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid("com.microsoft", 1)] if fused else [])
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=9))


class Tokens:
    """What stands before the blocks, the same for all: patches, class token, positions, as PyTorch computes them."""

    def __init__(self, weights, picture, size, patch):
        import torch
        from PIL import Image
        image = np.asarray(Image.open(picture).convert("RGB").resize((size, size), Image.LANCZOS), np.float32) / 255
        image = (image - np.float32([.485, .456, .406])) / np.float32([.229, .224, .225])
        x = torch.from_numpy(image).permute(2, 0, 1)[None]
        w = {k: torch.from_numpy(v.copy()) for k, v in weights.items() if not k.startswith("blocks")}
        x = torch.nn.functional.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
        side, grid, width = size // patch, int((w["pos_embed"].shape[1] - 1)**0.5), x.shape[1]
        x = torch.cat([w["cls_token"], x.flatten(2).transpose(1, 2)], 1)
        place = w["pos_embed"][:, 1:].reshape(1, grid, grid, width).permute(0, 3, 1, 2)
        if side != grid:
            place = torch.nn.functional.interpolate(place, scale_factor=(side + 0.1) / grid, mode="bicubic")
        place = place.permute(0, 2, 3, 1).reshape(1, -1, width)
        self.array = np.ascontiguousarray((x + torch.cat([w["pos_embed"][:, :1], place], 1)).numpy())


def torch_runs(weights, tokens, depth):
    import torch
    from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

    def forward_of(dtype, sdpa):
        w = {k: torch.from_numpy(v.copy()).to(dtype) for k, v in weights.items() if k.startswith("blocks")}
        width = tokens.shape[-1]
        start = torch.from_numpy(tokens).to(dtype)

        def norm(x, name):
            return layer_norm(x, (width,), w[name + ".weight"], w[name + ".bias"], 1e-6)

        def run():
            x = start
            for block in range(depth):
                at = f"blocks.{block}."
                y = norm(x, at + "norm1")
                weight, bias = w[at + "attn.qkv.weight"], w[at + "attn.qkv.bias"]
                if block == depth - 1:
                    return linear(y, weight[width:2 * width], bias[width:2 * width]).float().numpy()
                q, k, v = linear(y, weight, bias).reshape(1, -1, 3, width // HEAD_WIDTH, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
                if sdpa:
                    y = scaled_dot_product_attention(q, k, v)
                else:
                    y = (q @ k.transpose(-2, -1) * HEAD_WIDTH**-0.5).softmax(-1) @ v
                y = y.transpose(1, 2).flatten(2)
                x = x + linear(y, w[at + "attn.proj.weight"], w[at + "attn.proj.bias"])
                y = gelu(linear(norm(x, at + "norm2"), w[at + "mlp.fc1.weight"], w[at + "mlp.fc1.bias"]))
                x = x + linear(y, w[at + "mlp.fc2.weight"], w[at + "mlp.fc2.bias"])

        def guarded():
            with torch.no_grad():
                return run()
        return guarded
    return {"PyTorch SDPA f32": forward_of(torch.float32, True), "PyTorch f32": forward_of(torch.float32, False),
            "PyTorch SDPA bf16": forward_of(torch.bfloat16, True)}


def onnxruntime_runs(plain, fused, tokens, threads):
    import onnxruntime

    def run_of(path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"tokens": tokens})[0]
    return {"onnxruntime f32": run_of(plain), "onnxruntime fused f32": run_of(fused)}


def openvino_runs(plain, tokens, threads):
    import openvino
    core = openvino.Core()

    def run_of(precision):
        compiled = core.compile_model(plain, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads,
                                                     "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        return lambda: next(iter(request.infer({"tokens": tokens}).values())).copy()
    return {f"OpenVINO {name}": run_of(name) for name in ("f32", "bf16")}


def usol_runs(binary, weights, picture, size, folder, precisions=("f32", "bf16")):
    """name -> (seconds a picture, features): a command of eight pictures less one of four."""
    copies = []
    for i in range(8):
        copies.append(os.path.join(folder, f"{i}" + os.path.splitext(picture)[1]))
        shutil.copy(picture, copies[i])

    def run_of(precision):
        out = os.path.join(folder, "out")
        best = {}

        def command(inputs):
            start = time.perf_counter()
            subprocess.run([binary, "features", *inputs, "--weights", weights, "--out", out, "--size", str(size), "--force",
                            "--precision", precision], check=True, capture_output=True)
            seconds = time.perf_counter() - start
            best[len(inputs)] = min(seconds, best.get(len(inputs), seconds))
            return best[len(inputs)]

        def measure():
            four, eight = command(copies[:4]), command(copies)
            return (eight - four) / 4, read_safetensors(os.path.join(out, "0.safetensors"))["features"]
        return measure
    return {f"usol {precision}": run_of(precision) for precision in precisions}


def products_gflop(tokens, width, depth, patch):
    """Of the last block's keys: patches, all of the other blocks, and the keys' own layer."""
    block = 12 * width * width * tokens + 2 * tokens * tokens * width
    return 2e-9 * ((tokens - 1) * 3 * patch * patch * width + (depth - 1) * block + tokens * width * width)


def peak(bench, precision):
    """GFLOP/s from registers alone."""
    out = subprocess.run([bench, f"--benchmark_filter=^peak/{precision}", "--benchmark_format=json"], check=True,
                         capture_output=True).stdout
    return json.loads(out)["benchmarks"][0].get("GFLOP/s")


def timed(run):
    """As usol is timed: what three more calls take, the first being over."""
    result = run()
    start = time.perf_counter()
    for _ in range(3):
        run()
    return (time.perf_counter() - start) / 3, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("usol")
    parser.add_argument("--models", default="vits16,vitb8")
    parser.add_argument("--picture", default=os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                          "../tests/pictures/coffee.jpg"))
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="names to run, by their beginnings: 'usol,OpenVINO bf16'")
    parser.add_argument("--bench", default="")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    import torch
    torch.set_num_threads(args.threads)
    wanted = [name for name in args.only.split(",") if name]
    for model in args.models.split(","):
        width, depth, patch, grid = MODELS[model]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, model + ".safetensors")
            random_vit.write(path, width, depth, patch, grid)
            weights = read_safetensors(path)
            tokens = Tokens(weights, args.picture, args.size, patch).array
            runs = {name: (lambda run=run: timed(run)) for name, run in torch_runs(weights, tokens, depth).items()}
            exact = runs["PyTorch SDPA f32"]()[1]
            try:
                import onnx
                files = []
                for fused in (False, True):
                    files.append(os.path.join(folder, f"{model}{fused}.onnx"))
                    onnx.save(as_onnx(weights, tokens.shape[1], depth, fused), files[-1])
                for make in (lambda: onnxruntime_runs(*files, tokens, args.threads),
                             lambda: openvino_runs(files[0], tokens, args.threads)):
                    try:
                        runs.update({name: (lambda run=run: timed(run)) for name, run in make().items()})
                    except ImportError as missing:
                        print("left out:", missing)
            except ImportError as missing:
                print("left out:", missing)
            runs.update(usol_runs(args.usol, path, args.picture, args.size, folder))
            best, fastest = {}, {}
            for _ in range(args.rounds):
                for precision in ("f32", "bf16") if args.bench else ():
                    fastest[precision] = max(fastest.get(precision, 0), peak(args.bench, precision) or 0)
                for name, run in runs.items():
                    if wanted and not any(name.startswith(start) for start in wanted):
                        continue
                    seconds, result = run()
                    if result.ndim == 3 and result.shape[0] == 1:  # tokens; usol's are a map [D, h, w]
                        result = result[0, 1:].T
                    reference = exact[0, 1:].T
                    error = np.abs(result.reshape(reference.shape) - reference).max() / np.abs(reference).max()
                    # A difference of bests, as usol's is, may grow from round to round: its last one counts.
                    best[name] = (seconds if name.startswith("usol") else min(seconds, best.get(name, (seconds,))[0]),
                                  error)
            gflop = products_gflop(tokens.shape[1], width, depth, patch)
            for precision, speed in fastest.items():
                if speed:
                    print(f"{model} at {args.size}: products in {precision:12} {gflop / speed:7.3f} s a picture, "
                          f"{gflop:.0f} GFLOP at {speed:.0f} GFLOP/s")
            for name, (seconds, error) in best.items():
                print(f"{model} at {args.size}: {name:24} {seconds:7.3f} s a picture, error {error:.1e}", flush=True)


if __name__ == "__main__":
    main()

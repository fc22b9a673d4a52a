#!/usr/bin/env python3
"""Op timings on a GPU, ours beside PyTorch's, with the shapes that usol_bench wrote into its benchmark names.

usage: compare_ops_gpu.py USOL_BENCH_JSON [--out FILE.json]
USOL_BENCH_JSON: what usol_bench_cuda --benchmark_out wrote. Prints a table; needs PyTorch with CUDA.
"""
import argparse
import json
import sys

import torch
import torch.nn.functional as F

UNARY = {"neg": torch.neg, "exp": torch.exp, "log": lambda x: x.abs().log(), "sqrt": lambda x: x.abs().sqrt(),
         "abs": torch.abs, "relu": torch.relu, "sigmoid": torch.sigmoid, "silu": F.silu, "gelu": F.gelu,
         "softmax": lambda x: x.softmax(-1), "sum": lambda x: x.sum((0, -1)),
         "interpolate_bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")}
BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
          "minimum": torch.minimum, "matmul": torch.matmul, "matmul_batched": torch.matmul}
TERNARY = {"linear": F.linear, "linear_gelu": lambda x, w, b: F.gelu(F.linear(x, w, b)),
           "linear_relu": lambda x, w, b: F.relu(F.linear(x, w, b)),
           "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b),
           "attention": F.scaled_dot_product_attention}
FUNCTIONS = {**UNARY, **BINARY, **TERNARY}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def seconds(function, inputs):
    """Median over groups of calls, each timed with events."""
    for _ in range(3):
        function(*inputs)
    torch.cuda.synchronize()
    times = []
    for _ in range(15):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(20):
            function(*inputs)
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) / 20 / 1000)
    return sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--out")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("compare_ops_gpu: PyTorch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
    rows = []
    with open(args.bench) as file:
        benchmarks = json.load(file)["benchmarks"]
    for benchmark in benchmarks:
        parts = benchmark["name"].split("/")
        if len(parts) < 5 or parts[0] != "op" or parts[3] != "cuda" or benchmark.get("error_occurred"):
            continue
        _, name, dtype, _, shapes = parts[:5]
        ours = benchmark["real_time"] * scale[benchmark["time_unit"]]
        row = {"op": name, "dtype": dtype, "shapes": shapes, "usol_us": ours * 1e6}
        if name in FUNCTIONS:
            torch.manual_seed(0)
            inputs = [torch.randn([int(n) for n in shape.split("x")], device="cuda", dtype=DTYPES[dtype])
                      for shape in shapes.split(";")]
            with torch.no_grad():
                row["torch_us"] = seconds(FUNCTIONS[name], inputs) * 1e6
            row["torch_over_usol"] = row["torch_us"] / row["usol_us"]
        rows.append(row)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    print(f"{'op':22}{'dtype':6}{'usol us':>10}{'torch us':>10}{'ratio':>7}  shapes")
    for row in rows:
        print(f"{row['op']:22}{row['dtype']:6}{row['usol_us']:10.1f}"
              + (f"{row['torch_us']:10.1f}{row['torch_over_usol']:7.2f}" if "torch_us" in row else f"{'-':>10}{'-':>7}")
              + f"  {row['shapes']}")
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Op timings on a GPU, ours beside PyTorch's, with the shapes that usol_bench wrote into its benchmark names.

usage: compare_ops_gpu.py USOL_BENCH_JSON [--out FILE.json]
USOL_BENCH_JSON: what usol_bench_cuda --benchmark_out wrote. Prints a table; needs PyTorch with CUDA.
"""
import argparse
import json
import sys

import roof
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


def seconds(function, turns):
    """Median over groups of calls, each timed with events. Calls take turns with copies of the inputs, as ours do."""
    for _ in range(3):
        function(*turns[0])
    torch.cuda.synchronize()
    times = []
    for _ in range(15):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for i in range(20):
            function(*turns[i % len(turns)])
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
    with open(args.bench) as file:
        rows = roof.rows_of(json.load(file)["benchmarks"], torch.cuda.get_device_name())
    for row in rows:
        if row["op"] not in FUNCTIONS or "error" in row:
            continue
        torch.manual_seed(0)
        inputs = [torch.randn([int(n) for n in shape.split("x")], device="cuda", dtype=DTYPES[row["dtype"]])
                  for shape in row["shapes"].split(";")]
        copies = min(32, max(1, int(256e6 / row["bytes"])))
        with torch.no_grad():
            turns = [inputs] + [[x.clone() for x in inputs] for _ in range(copies - 1)]
            row["torch_us"] = seconds(FUNCTIONS[row["op"]], turns) * 1e6
        row["torch_over_usol"] = row["torch_us"] / row["usol_us"]
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    print(f"{'op':32}{'dtype':6}{'usol us':>10}{'share':>7}{'torch us':>10}{'ratio':>7}  shapes")
    for row in rows:
        number = lambda key, form: format(row[key], form) if key in row else f"{'-':>{form.split('.')[0]}}"
        print(f"{row['op']:32}{row['dtype']:6}" + number("usol_us", "10.1f") + number("share", "7.2f")
              + number("torch_us", "10.1f") + number("torch_over_usol", "7.2f") + f"  {row['shapes']}")
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How near each op came to its roof: the least time that its bytes and operations take on a GPU, beside the time it took.

usage: roof.py USOL_BENCH_JSON GPU    (GPU: a name as `nvidia-smi -L` gives it)
USOL_BENCH_JSON: what usol_bench_cuda --benchmark_out wrote, with "bytes" and "flop" of each op case. A call reads its inputs
and writes its output once at least, and its products run at the dense rate of the arithmetic units; the larger of the two
times is the roof. A share above 1 says that part of the data came from the cache.
"""
import json
import sys

# Bytes and operations per second by NVIDIA's data sheets, dense; f32 without TF32. The first name that is part of the
# GPU's counts.
HOPPER = {"f32": 67e12, "bf16": 989e12, "f16": 989e12, "f64": 67e12}
PEAKS = {
    "H200": (4.8e12, HOPPER),
    "H100 80GB HBM3": (3.35e12, HOPPER),
    "A100-SXM4-80GB": (2.039e12, {"f32": 19.5e12, "bf16": 312e12, "f16": 312e12, "f64": 19.5e12}),
    "A100-SXM4-40GB": (1.555e12, {"f32": 19.5e12, "bf16": 312e12, "f16": 312e12, "f64": 19.5e12}),
}
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def peaks_of(gpu):
    """(bytes per second, {dtype: operations per second}), or None for a GPU that is not in the table."""
    return next((peaks for name, peaks in PEAKS.items() if name in gpu), None)


def roof(nbytes, flop, dtype, peaks):
    """(least seconds, which of "memory" and "arithmetic" takes them)."""
    memory, arithmetic = nbytes / peaks[0], flop / peaks[1][dtype]
    return max(memory, arithmetic), "memory" if memory >= arithmetic else "arithmetic"


def rows_of(benchmarks, gpu):
    """A row for each "op/<case>/<dtype>/cuda/<shapes>" that ran; with "share" and "roof" where the GPU is known."""
    rows, peaks = [], peaks_of(gpu)
    for benchmark in benchmarks:
        parts = benchmark["name"].split("/")
        if len(parts) < 5 or parts[0] != "op" or parts[3] != "cuda":
            continue
        row = {"op": parts[1], "dtype": parts[2], "shapes": parts[4]}
        if benchmark.get("error_occurred"):
            row["error"] = benchmark.get("error_message", "unknown")
        else:
            seconds = benchmark["real_time"] * SECONDS[benchmark["time_unit"]]
            row.update(usol_us=seconds * 1e6, bytes=benchmark["bytes"], flop=benchmark["flop"])
            if peaks:
                least, row["roof"] = roof(row["bytes"], row["flop"], row["dtype"], peaks)
                row["share"] = least / seconds
        rows.append(row)
    return rows


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        rows = rows_of(json.load(file)["benchmarks"], sys.argv[2])
    if not peaks_of(sys.argv[2]):
        print(f"no peak rates are known of {sys.argv[2]}: counts and times only", file=sys.stderr)
    print(f"{'op':32}{'dtype':6}{'us':>10}{'MB':>9}{'GFLOP':>9}{'share':>7}  roof")
    for row in rows:
        if "error" in row:
            print(f"{row['op']:32}{row['dtype']:6}  {row['error']}")
            continue
        share = f"{row['share']:7.2f}  {row['roof']}" if "share" in row else f"{'-':>7}"
        print(f"{row['op']:32}{row['dtype']:6}{row['usol_us']:10.1f}{row['bytes'] / 1e6:9.1f}{row['flop'] / 1e9:9.2f}{share}")


if __name__ == "__main__":
    main()

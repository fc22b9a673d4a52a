#!/usr/bin/env python3
"""The detector's backbone (R50-FPN), ours beside Detectron2's modules in PyTorch: maps and time, in one run.

usage: compare_backbone.py USOL_BENCH DETECTRON2_SOURCE [--size 800 1216] [--repeats 3] [--train]
Random weights, one image. PyTorch is timed with NCHW and with channels-last memory. Times are the best of --repeats,
wall and process CPU seconds: on a machine with other work only the latter mean something.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

import torch
from safetensors.torch import load_file, save_file

FLOOR_GFLOP_800_1216 = 269  # of the convolutions


def build(source):
    sys.path.insert(0, source)
    warnings.simplefilter("ignore")
    from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
    from detectron2.modeling.backbone.resnet import BasicStem, ResNet
    stages = ResNet.make_default_stages(50, norm="BN", stride_in_1x1=False)
    bottom_up = ResNet(BasicStem(3, 64, "BN"), stages, out_features=["res2", "res3", "res4", "res5"])
    return FPN(bottom_up, ["res2", "res3", "res4", "res5"], 256, "BN", LastLevelMaxPool())


def best(repeats, work):
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return min(wall), min(cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("usol_bench")
    parser.add_argument("detectron2")
    parser.add_argument("--size", type=int, nargs=2, default=[800, 1216])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", action="store_true", help="time a training pass too")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = build(args.detectron2)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    images = torch.randn(1, 3, *args.size)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, image {args.size[0]} x {args.size[1]}")
    with tempfile.TemporaryDirectory() as folder:
        case, result = os.path.join(folder, "case.safetensors"), os.path.join(folder, "maps.safetensors")
        save_file({**{k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()},
                   "images": images}, case)
        command = [args.usol_bench, "--benchmark_filter=^backbone/" + ("" if args.train else "infer"),
                   "--benchmark_format=json", f"--benchmark_repetitions={args.repeats}", "--benchmark_min_time=0.01"]
        environment = dict(os.environ, USOL_BACKBONE_CASE=case, USOL_BACKBONE_RESULT=result)
        report = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        ours = {}
        for run in report["benchmarks"]:
            if run["run_type"] == "iteration":
                kind = "train" if "train" in run["name"] else "infer"
                wall, cpu = run["real_time"] / 1e3, run["cpu_time"] / 1e3
                ours[kind] = tuple(map(min, ours.get(kind, (wall, cpu)), (wall, cpu)))
        maps = load_file(result)
    model.eval()
    with torch.no_grad():
        expected = model(images)
        errors = {k: ((maps[k] - v).abs().max() / v.abs().max()).item() for k, v in expected.items()}
        print("error " + ", ".join(f"{k} {e:.1e}" for k, e in errors.items()))
        theirs = {("infer", "nchw"): best(args.repeats, lambda: model(images))}
        last, images_last = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
        theirs["infer", "channels last"] = best(args.repeats, lambda: last(images_last))
    if args.train:
        model.train()
        step = lambda m, x: sum(v.sum() for v in m(x).values()).backward()
        step(last, images_last)
        theirs["train", "channels last"] = best(args.repeats, lambda: step(last, images_last))
        plain = model.to(memory_format=torch.contiguous_format)
        theirs["train", "nchw"] = best(args.repeats, lambda: step(plain, images))
    for kind, (wall, cpu) in ours.items():
        print(f"{kind}: usol {wall:.2f} s wall, {cpu:.2f} s CPU")
        for (other, layout), (w, c) in theirs.items():
            if other == kind:
                print(f"  PyTorch {layout}: {w:.2f} s wall, {c:.2f} s CPU; usol takes {wall / w:.2f} of its wall, "
                      f"{cpu / c:.2f} of its CPU time")


if __name__ == "__main__":
    main()

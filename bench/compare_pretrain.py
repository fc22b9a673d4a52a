#!/usr/bin/env python3
"""A step of DINO's pre-training beside the public code's with PyTorch, in one run: tables in Markdown on stdout.

usage: compare_pretrain.py USOL_BENCH DINO_CHECKOUT [--cases tiny vits16] [--rounds 2] [--repeats 2]

Networks, heads, loss, clipping and schedules of the public code run as they are (main_dino.py's train_one_epoch without
its GPU calls and logging), f32, on crops of random numbers: forward passes of teacher and student, loss, gradients, each
parameter's gradient clipped, AdamW, the teacher's average. Both sides begin with the same weights, and the first step's
losses must agree. They take turns in processes of their own; times are the best of all rounds. "tuned" is PyTorch with
huge pages and no trimming of its heap. Needs torch, torchvision and safetensors.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

TUNED = ("glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:"
         "glibc.malloc.trim_threshold=17179869184")
PARTS = ("forward", "backward", "optimizer")
# width, heads, depth, patch; side of global and local crops, local crops, pictures; head: hidden, bottleneck, prototypes
CASES = {
    "tiny": (128, 2, 6, 8, 96, 48, 4, 16, 512, 128, 2048),
    "vits16": (384, 6, 12, 16, 224, 96, 8, 2, 2048, 256, 65536),
}
NAMES = {"tiny": "preset tiny without hidden patches, 16 pictures", "vits16": "ViT-S/16 as published, 2 pictures",
         "forward": "- its losses", "backward": "- its gradients", "optimizer": "- clipping, AdamW, average"}


def public_code(args, case):
    """Student, teacher and loss of main_dino.py."""
    import torch
    import torch.distributed as dist
    width, heads, depth, patch, side, _, locals_, _, hidden, bottleneck, out = CASES[case]
    sys.path.insert(0, args.dino)
    import main_dino
    from main_dino import utils, vits
    if not dist.is_initialized():  # the loss asks for the number of processes
        dist.init_process_group("gloo", init_method=f"file://{tempfile.mktemp()}", rank=0, world_size=1)

    def wrapped(drop_path):
        backbone = vits.VisionTransformer(
            img_size=[side], patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, mlp_ratio=4,
            qkv_bias=True, drop_path_rate=drop_path, norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6))
        return utils.MultiCropWrapper(backbone, vits.DINOHead(width, out, hidden_dim=hidden, bottleneck_dim=bottleneck))

    torch.manual_seed(0)
    student, teacher = wrapped(0), wrapped(0)
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    return student, teacher, main_dino.DINOLoss(out, 2 + locals_, 0.04, 0.04, 0, 100), utils


def make_case(args, case, path):
    import torch
    from safetensors.torch import save_file
    student = public_code(args, case)[0]
    side, local_side, locals_, pictures = CASES[case][4:8]
    state = {k: v.contiguous() for k, v in student.state_dict().items()}
    state["case.globals"] = torch.randn(pictures, 2, 3, side, side)
    state["case.locals"] = torch.randn(pictures, locals_, 3, local_side, local_side)
    save_file(state, path)


def torch_side(args):
    """Times the public code's steps in this process."""
    import torch
    from safetensors.torch import load_file
    student, teacher, criterion, utils = public_code(args, args.torch_side)
    case = load_file(args.case)
    weights = {k: v for k, v in case.items() if not k.startswith("case.")}
    student.load_state_dict(weights)
    teacher.load_state_dict(weights)
    images = [c.contiguous() for c in (*case["case.globals"].unbind(1), *case["case.locals"].unbind(1))]
    optimizer = torch.optim.AdamW(utils.get_params_groups(student))
    optimizer.param_groups[0].update(lr=1e-5, weight_decay=0.04)
    optimizer.param_groups[1].update(lr=1e-5)

    def step():
        clock = [time.perf_counter()]
        loss = criterion(student(images), teacher(images[:2]), 0)
        value = loss.item()
        clock.append(time.perf_counter())
        optimizer.zero_grad()
        loss.backward()
        clock.append(time.perf_counter())
        utils.clip_gradients(student, 3.0)
        utils.cancel_gradients_last_layer(0, student, 1)
        optimizer.step()
        with torch.no_grad():
            for q, k in zip(student.parameters(), teacher.parameters()):
                k.data.mul_(0.996).add_((1 - 0.996) * q.detach().data)
        clock.append(time.perf_counter())
        return value, dict(zip(PARTS, (b - a for a, b in zip(clock, clock[1:]))))

    loss = step()[0]
    parts = min((step()[1] for _ in range(args.repeats)), key=lambda p: sum(p.values()))
    print(json.dumps({"loss": loss, "step": sum(parts.values()), **parts}))


def run(command, environment):
    """Output and peak memory in bytes of a process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        err.seek(0)
        if status:
            sys.exit(f"{' '.join(command)} failed:\n{err.read().decode()[-2000:]}")
        return out.read().decode(), usage.ru_maxrss * 1024


def usol_side(args, path):
    text, memory = run([args.usol_bench, "--benchmark_filter=^pretrain/step", "--benchmark_format=json",
                        "--benchmark_min_time=0.01", f"--benchmark_repetitions={args.repeats}"],
                       dict(os.environ, USOL_PRETRAIN_CASE=path))
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}
    steps = [e for e in json.loads(text)["benchmarks"] if e["run_type"] == "iteration"]
    best = min(steps, key=lambda e: e["real_time"])
    found = {"loss": steps[0]["loss"], "step": best["real_time"] * scale[best["time_unit"]]}
    return {**found, **{part: best[part] for part in PARTS}}, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("usol_bench")
    parser.add_argument("dino")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="in each round")
    parser.add_argument("--torch-side", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_side:
        return torch_side(args)
    import torch
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, best of {args.rounds} x {args.repeats}\n")
    print("| work | usol | PyTorch | times | tuned | times |\n|---|---|---|---|---|---|")
    for case in args.cases:
        found, memory = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "case.safetensors")
            make_case(args, case, path)
            for _ in range(args.rounds):
                for side, tunables in (("usol", None), ("PyTorch", None), ("tuned", TUNED)):
                    if side == "usol":
                        times, peak = usol_side(args, path)
                    else:
                        environment = dict(os.environ, **({"GLIBC_TUNABLES": tunables} if tunables else {}))
                        command = [sys.executable, __file__, args.usol_bench, args.dino, "--torch-side", case, "--case",
                                   path, "--repeats", str(args.repeats)]
                        text, peak = run(command, environment)
                        times = json.loads(text.strip().splitlines()[-1])
                    if times["step"] < found.get(side, {"step": 1e9})["step"]:
                        found[side] = times
                    memory[side] = min(memory.get(side, 1e18), peak)
        losses = [times["loss"] for times in found.values()]
        if max(losses) - min(losses) > 1e-4:
            sys.exit(f"{case}: the first steps' losses differ: {losses}")
        for part in ("step", *PARTS):
            ours, plain, tuned = (found[side][part] for side in ("usol", "PyTorch", "tuned"))
            print(f"| {NAMES[case if part == 'step' else part]} | {ours:.3g} s | {plain:.3g} s | **{plain / ours:.2f}** | "
                  f"{tuned:.3g} s | {tuned / ours:.2f} |")
        ours, plain, tuned = (memory[side] / 1e6 for side in ("usol", "PyTorch", "tuned"))
        print(f"| - memory at peak | {ours:.0f} MB | {plain:.0f} MB | {plain / ours:.2f} | {tuned:.0f} MB | "
              f"{tuned / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()

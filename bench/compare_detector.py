#!/usr/bin/env python3
"""The detector's speed and memory beside Detectron2's with PyTorch, in one run: a table in Markdown on stdout.

usage: compare_detector.py USOL_BENCH DETECTRON2_SOURCE CUTLER_SOURCE PICTURE [--rounds 2] [--size 800 1216]
       [--coco ANNOTATIONS FOLDER]

Cascade Mask R-CNN on R50-FPN with random weights, one picture for inference, two for a training step (losses,
gradients, SGD), f32; with --coco also what it takes to make a training batch of two of these pictures, in one thread:
decoding, resizing, flipping, CutLER's copy-paste. Both sides take turns in processes of their own; times are the best of all rounds. "tuned" is
PyTorch with huge pages and no trimming of its heap. Memory is the process's peak. Needs torch, torchvision, safetensors
and what Detectron2 imports.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

from cutler_model import build, settings

warnings.simplefilter("ignore")
TUNED = ("glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:"
         "glibc.malloc.trim_threshold=17179869184")
TRUTHS = 12
PARTS = ("forward", "backward", "optimizer")
BATCHES = 40


def make_case(args, path):
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file
    height, width = args.size
    model = build(args.detectron2, args.cutler)
    picture = torch.from_numpy(np.array(Image.open(args.picture).convert("RGB").resize((width, height))))
    corner = torch.rand(TRUTHS, 2) * torch.tensor([0.7 * width, 0.7 * height])
    boxes = torch.cat([corner, corner + 20 + torch.rand(TRUTHS, 2) * torch.tensor([0.25 * width, 0.25 * height])], 1)
    masks = torch.zeros(TRUTHS, height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist()):
        mask[y0:y1, x0:x1] = 1
    state = {k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file({**state, "case.pictures": torch.stack([picture, picture.flip(1)]).contiguous(), "case.boxes": boxes,
               "case.masks": masks}, path)


def best(repeats, work):
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def best_step(steps):
    """The fastest step, with its parts; each step is a dict of PARTS."""
    fastest = min(steps, key=lambda parts: sum(parts.values()))
    return {"train": sum(fastest.values()), **fastest}


def seconds_of_a_batch(args):
    """Mean over BATCHES pairs of pictures, as CutLER's data set mapper and trainer make them."""
    cfg = settings(args.detectron2, args.cutler)
    import copy
    import random
    import torch
    from PIL import Image
    Image.LINEAR = Image.BILINEAR  # CutLER's code has the name that Pillow dropped
    from data.dataset_mapper import DatasetMapper
    from detectron2.data.datasets import load_coco_json
    from engine.train_loop import CustomSimpleTrainer
    random.seed(0)
    annotations, folder = args.coco
    records = [r for r in load_coco_json(annotations, folder) if any(not a.get("iscrowd") for a in r["annotations"])]
    random.shuffle(records)
    groups, waiting = [], {True: [], False: []}
    while len(groups) < BATCHES:
        for record in records:  # pictures of one orientation share a batch
            pair = waiting[record["width"] > record["height"]]
            pair.append(record)
            if len(pair) == 2:
                groups.append(pair[:])
                pair.clear()
    mapper = DatasetMapper(cfg, True)
    trainer = CustomSimpleTrainer(torch.nn.Module(), [], None, cfg=cfg)
    start = time.perf_counter()
    for group in groups[:BATCHES]:
        samples = [mapper(record) for record in group]
        trainer.copy_and_paste(copy.deepcopy(samples[::-1]), samples)
    return (time.perf_counter() - start) / BATCHES


def torch_side(args):
    """Times one kind of work in this process."""
    import torch
    import torchvision
    from safetensors.torch import load_file
    what = args.torch_side
    if what == "ops":
        torch.manual_seed(0)
        features = torch.randn(1, 256, 200, 304)
        corner = torch.rand(1000, 2) * 500  # as the case "roi_align_7" of tests/ops/roi_align_test.cc
        boxes = torch.cat([torch.zeros(1000, 1), corner, corner + 4 + torch.rand(1000, 2) * 52], 1)
        many = torch.rand(4000, 2) * 1200
        many, scores = torch.cat([many, many + 1 + torch.rand(4000, 2) * 199], 1), torch.rand(4000)
        with torch.no_grad():
            result = {"roi_align": best(3, lambda: torchvision.ops.roi_align(features, boxes, 7, 0.5, 0, True)),
                      "nms": best(5, lambda: torchvision.ops.nms(many, scores, 0.3))}
        print(json.dumps(result))
        return
    if what == "data":
        print(json.dumps({"data": seconds_of_a_batch(args)}))
        return
    model = build(args.detectron2, args.cutler)  # which finds detectron2
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.events import EventStorage
    case = load_file(args.case)
    model.load_state_dict(case, strict=False)
    pictures = case["case.pictures"].permute(0, 3, 1, 2).contiguous()
    height, width = pictures.shape[2:]
    if what == "train":
        inputs = []
        for picture in pictures:
            truth = Instances((height, width), gt_boxes=Boxes(case["case.boxes"]),
                              gt_classes=torch.zeros(TRUTHS, dtype=torch.int64),
                              gt_masks=BitMasks(case["case.masks"].bool()))
            inputs.append({"image": picture, "instances": truth, "height": height, "width": width})
        optimiser = torch.optim.SGD(model.parameters(), 1e-5, momentum=0.9, weight_decay=5e-5)
        model.train()

        def step():
            with EventStorage(0):
                clock = [time.perf_counter()]
                optimiser.zero_grad()
                loss = sum(model(inputs).values())
                clock.append(time.perf_counter())
                loss.backward()
                clock.append(time.perf_counter())
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                clock.append(time.perf_counter())
            return dict(zip(PARTS, (b - a for a, b in zip(clock, clock[1:]))))
        step()
        print(json.dumps(best_step([step() for _ in range(args.repeats)])))
        return
    model.eval()
    batch = [{"image": pictures[0], "height": height, "width": width}]
    images = model.preprocess_image(batch).tensor
    with torch.no_grad():
        result = {"backbone": best(args.repeats, lambda: model.backbone(images)),
                  "infer": best(args.repeats, lambda: model.inference(batch, do_postprocess=False))}
    print(json.dumps(result))


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


def usol_times(args, filters, environment):
    seconds = 8 if "data" in filters else 0.01  # a mean over many pictures; the others repeat one case
    text, memory = run([args.usol_bench, f"--benchmark_filter={filters}", "--benchmark_format=json",
                        f"--benchmark_min_time={seconds}", f"--benchmark_repetitions={args.repeats}"], environment)
    times = {}
    for entry in json.loads(text)["benchmarks"]:
        if entry["run_type"] == "iteration":
            scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[entry["time_unit"]]
            name, seconds = entry["name"].split("/")[1], entry["real_time"] * scale
            if seconds < times.get(name, 1e9):
                times[name] = seconds
                times.update({part: entry[part] for part in PARTS if part in entry})
    return times, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("usol_bench", "detectron2", "cutler", "picture"):
        parser.add_argument(name)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="in each round")
    parser.add_argument("--size", type=int, nargs=2, default=[800, 1216])
    parser.add_argument("--coco", nargs=2, metavar=("ANNOTATIONS", "FOLDER"))
    parser.add_argument("--torch-side", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_side:
        return torch_side(args)
    import torch
    import torchvision
    found = {}  # (work, side) -> best seconds
    memory = {}

    def note(side, times):
        if times.get("train", 0) > found.get(("train", side), 1e9):
            return  # with its parts
        for work, seconds in times.items():
            found[work, side] = seconds if work in PARTS else min(found.get((work, side), 1e9), seconds)

    with tempfile.TemporaryDirectory() as folder:
        case, backbone = os.path.join(folder, "case.safetensors"), os.path.join(folder, "backbone.safetensors")
        make_case(args, case)
        from safetensors.torch import load_file, save_file
        tensors = load_file(case)
        prefix = "backbone."
        save_file({**{k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)},
                   "images": torch.randn(1, 3, *args.size)}, backbone)
        del tensors
        ours = dict(os.environ, USOL_DETECTOR_CASE=case, USOL_BACKBONE_CASE=backbone)
        kinds = {"infer": "^detector/infer", "train": "^detector/train/", "ops": "^op/(roi_align_7|batched_nms)"}
        if args.coco:
            ours["USOL_LOADER_CASE"] = ":".join(args.coco)
            kinds["data"] = "^detector/data"
        for round_number in range(args.rounds):
            for kind, filters in kinds.items():
                times, peak = usol_times(args, filters, ours)
                if kind == "infer":
                    times["backbone"] = usol_times(args, "^backbone/infer", ours)[0]["infer"]
                if kind == "ops":
                    times = {"nms": times["batched_nms"], "roi_align": times["roi_align_7"]}
                note("usol", times)
                memory[kind, "usol"] = min(memory.get((kind, "usol"), 1e18), peak)
                for side, tunables in (("PyTorch", None), ("tuned", TUNED)):
                    environment = dict(os.environ, **({"GLIBC_TUNABLES": tunables} if tunables else {}))
                    command = [sys.executable, __file__, args.usol_bench, args.detectron2, args.cutler, args.picture,
                               "--torch-side", kind, "--case", case, "--repeats", str(args.repeats)]
                    command += ["--coco", *args.coco] if args.coco else []
                    text, peak = run(command, environment)
                    note(side, json.loads(text.strip().splitlines()[-1]))
                    memory[kind, side] = min(memory.get((kind, side), 1e18), peak)
                print(f"round {round_number + 1}: {kind} done", file=sys.stderr, flush=True)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.get_num_threads()} threads, "
          f"{args.size[0]} x {args.size[1]}, best of {args.rounds} x {args.repeats}\n")
    print("| work | usol | PyTorch | times | tuned | times |\n|---|---|---|---|---|---|")
    names = {"backbone": "R50-FPN features", "infer": "cascade, a picture to boxes and masks",
             "train": "training step, two pictures", "forward": "  its losses", "backward": "  its gradients",
            "optimizer": "  clipping and SGD", "data": "the pictures of a step, one thread", "roi_align": "RoIAlign, 1000 boxes 7 x 7", "nms": "NMS, 4000 boxes"}
    for work, name in names.items():
        if (work, "usol") not in found:
            continue
        unit, scale = ("ms", 1e3) if work in ("optimizer", "data", "roi_align", "nms") else ("s", 1)
        ours, plain, tuned = (found[work, side] * scale for side in ("usol", "PyTorch", "tuned"))
        print(f"| {name} | {ours:.3g} {unit} | {plain:.3g} {unit} | **{plain / ours:.2f}** | {tuned:.3g} {unit} | "
              f"{tuned / ours:.2f} |")
    for kind, name in (("infer", "memory at peak, inference"), ("train", "memory at peak, training step")):
        ours, plain, tuned = (memory[kind, side] / 1e6 for side in ("usol", "PyTorch", "tuned"))
        print(f"| {name} | {ours:.0f} MB | {plain:.0f} MB | {plain / ours:.2f} | {tuned:.0f} MB | {tuned / ours:.2f} |")


if __name__ == "__main__":
    main()

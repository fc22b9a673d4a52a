"""Parts "results", "speed" and "training": what a user runs, on the device and on the CPU, and how fast."""
import json
import os
import shlex
import sys
import tempfile

import random_vit
import roof

ALIKE = 0.95  # of two boxes: their intersection over their union
LEAST_ALIKE = 0.9  # share of objects that must be those of the CPU: near ties may fall differently
LOSS_TOLERANCE = 1e-3
SMALL_TRAINING = """[train]
blocks = [1, 1, 1, 1]
resnet-channels = 16
channels = 16
hidden = 32
stages = 1
short-sides = [64]
long-side = 128
batch = 2
reference-batch = 2
warmup = 1
proposals = 50
precise-bn = 0
iterations = 4
steps = [3]
log-every = 1
"""
# The detector of the paper on pictures of one size, few steps.
WHOLE_TRAINING = """[train]
short-sides = [800]
batch = 2
reference-batch = 2
precise-bn = 0
iterations = 12
steps = [11]
warmup = 2
log-every = 1
"""


def pictures(run):
    return os.path.join(run.programs.root, "tests/pictures")


def objects_of(path):
    with open(path) as file:
        annotations = json.load(file)["annotations"]
    images = {}
    for one in annotations:
        images.setdefault(one["image_id"], []).append(one)
    return images


def box_iou(a, b):
    """Of [x, y, width, height]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / max(a[2] * a[3] + b[2] * b[3] - common, 1e-9)


def compare(first, second):
    """{"objects", "alike", "identical"} of two COCO files: each object is paired with the one most like it."""
    ours, theirs = objects_of(first), objects_of(second)
    count = {"objects": max(sum(map(len, ours.values())), sum(map(len, theirs.values()))), "alike": 0, "identical": 0}
    for image, objects in ours.items():
        left = list(theirs.get(image, []))
        for one in objects:
            other = max(left, key=lambda o: box_iou(one["bbox"], o["bbox"]), default=None)
            if other is None or box_iou(one["bbox"], other["bbox"]) < ALIKE:
                continue
            left.remove(other)
            if abs(one["area"] - other["area"]) <= 0.02 * other["area"] + 16:
                count["alike"] += 1
                count["identical"] += one["segmentation"] == other["segmentation"]
    return count


def both(run, folder, name, verb, words):
    """The verb on the device and on the CPU; its row of the results."""
    files = {}
    for device in ("cuda", "cpu"):
        files[device] = os.path.join(folder, f"{name}_{device}.json")
        command = run.programs.usol + [verb, *words, "--out", files[device], "--device", device, "--force", "-q"]
        status, output = run.call(command)
        if status != 0:
            return {"status": "out of time" if status == 124 else "failed", "text": f"{device}: {output[-1500:]}"}
    row = compare(files["cuda"], files["cpu"])
    row["status"] = "passed" if row["objects"] and row["alike"] >= LEAST_ALIKE * row["objects"] else "failed"
    return row


def worst(rows):
    statuses = [row["status"] for row in rows]
    return next((s for s in ("failed", "out of time", "not run") if s in statuses), "passed")


def results(run, only):
    found = run.results["results"] = {}
    detector = os.path.join(run.programs.root, "models/detector.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        vit = os.path.join(folder, "vit.safetensors")
        random_vit.write(vit, width=64, depth=2, grid=4)
        for name, verb, words in (
            ("maskcut, ViT", "maskcut", [pictures(run), "--weights", vit, "--size", "96"]),
            ("maskcut, colours", "maskcut", [pictures(run), "--backbone", "colour", "--size", "96"]),
            ("predict", "predict", [pictures(run), "--weights", detector, "--short-side", "64", "--long-side", "128",
                                    "--score", "0", "--most", "5", "--batch", "3"]),
        ):
            found[name] = both(run, folder, name.replace(", ", "_"), verb, words)
            run.save()
    text = "; ".join(f"{name}: " + (f"{row['alike']} of {row['objects']} objects as on the CPU, {row['identical']} to the bit"
                                    if "alike" in row else row["status"]) for name, row in found.items())
    return worst(found.values()), text


def script(run, name, *words):
    """A Python script of bench/ and what it printed last, as JSON if that is what it is."""
    path = os.path.join(run.programs.root, "bench", name)
    return run.call([sys.executable, path, *map(str, words)])


def speed_of_ops(run, folder):
    if not run.programs.has(os.path.basename(run.programs.bench[-1])):
        return "not run", "the package has no benchmark program"
    file = os.path.join(folder, "bench.json")
    # Emulated, one op says all there is to say.
    wanted = "op/where/f32/cuda" if run.programs.emulated else "^op/.*/cuda/"
    status, output = run.call(run.programs.bench + [f"--benchmark_filter={wanted}", "--benchmark_min_time=0.05",
                                                    f"--benchmark_out={file}", "--benchmark_out_format=json"])
    if status != 0:
        return ("out of time" if status == 124 else "failed"), f"benchmark: exit status {status}: {output[-300:]}"
    with open(file) as stream:
        rows = run.results["ops"] = roof.rows_of(json.load(stream)["benchmarks"], run.results["gpu"])
    run.save()
    text = f"{len(rows)} ops timed"
    wrong = [row["op"] for row in rows if "error" in row]
    if wrong or not rows:
        return "failed", f"{text}, these failed: {' '.join(wrong)}"
    if run.programs.emulated:
        return "passed", text + " (PyTorch is not asked: there is no GPU)"
    compared = os.path.join(folder, "compare.json")
    status, output = script(run, "compare_ops_gpu.py", file, "--out", compared)
    if status != 0:
        return ("out of time" if status == 124 else "failed"), f"{text}; beside PyTorch: {output[-300:]}"
    with open(compared) as stream:
        beside = json.load(stream)
    run.results["ops"], run.results["torch"] = beside["rows"], beside["torch"]
    return "passed", f"{text}, beside PyTorch {beside['torch']}"


def speed(run, only):
    with tempfile.TemporaryDirectory() as folder:
        status, text = speed_of_ops(run, folder)
        words = ["--weights", run.weights] if run.weights else []
        if run.programs.emulated:
            vit = os.path.join(folder, "vit.safetensors")
            random_vit.write(vit, width=64, depth=2, grid=4)
            words = ["--weights", vit, "--repeat", 1, "--batch", 7, "--size", 64]
        code, output = script(run, "maskcut_gpu.py", shlex.join(run.programs.usol), pictures(run), "--out", folder, *words)
        if code != 0:
            of_maskcut = {"status": "out of time" if code == 124 else "failed"}
            return worst([{"status": status}, of_maskcut]), f"{text}; maskcut: {output[-300:]}"
        run.results["maskcut"] = json.loads(output.splitlines()[-1])
    return status, f"{text}; maskcut: {run.results['maskcut']['images_per_second']} images a second"


def train(run, folder, name, settings, device, *words):
    """The lines of metrics.json, or an error's text."""
    path, out = os.path.join(folder, name + ".toml"), os.path.join(folder, f"{name}_{device}")
    with open(path, "w") as file:
        file.write(settings)
    status, output = run.call(run.programs.usol + ["train", "--config", path, "--annotations",
                                                   os.path.join(run.programs.root, "models/masks.json"), "--image-root",
                                                   pictures(run), "--out", out, "--device", device, "--force", *words])
    if status != 0:
        return None, ("out of time" if status == 124 else f"{device}: exit status {status}: {output[-1000:]}")
    with open(os.path.join(out, "metrics.json")) as file:
        return [json.loads(line) for line in file], os.path.join(out, "model_final.safetensors")


def training(run, only):
    found = run.results["training"] = {}
    with tempfile.TemporaryDirectory() as folder:
        losses = {}
        for device in ("cuda", "cpu"):
            lines, text = train(run, folder, "small", SMALL_TRAINING, device)
            if lines is None:
                return ("out of time" if text == "out of time" else "failed"), text
            losses[device] = [line["total_loss"] for line in lines]
        found["losses"] = losses
        differences = [abs(a - b) / abs(b) for a, b in zip(losses["cuda"], losses["cpu"])]
        found["first_difference"], found["last_difference"] = differences[0], differences[-1]
        run.save()
        text = f"losses differ by {differences[0]:.1e} in the first step, {differences[-1]:.1e} in the last"
        if differences[0] > LOSS_TOLERANCE:
            return "failed", text
        if run.programs.emulated:
            return "passed", text + "; the whole detector is not trained: an emulated step takes too long"
        lines, model = train(run, folder, "whole", WHOLE_TRAINING, "cuda")
        if lines is None:
            return ("out of time" if model == "out of time" else "failed"), f"{text}; the whole detector: {model}"
        times = sorted(line["time"] for line in lines[2:])
        found["seconds_a_step"] = times[len(times) // 2]
        return "passed", f"{text}; {found['seconds_a_step']:.3f} s a step of two pictures, Cascade R-CNN R50-FPN"

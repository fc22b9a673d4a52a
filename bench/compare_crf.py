"""The dense CRF beside pydensecrf: masks and time, in one run.

Usage: compare_crf.py USOL_BENCH PICTURE... [--size 480] [--repeat 3]
USOL_BENCH is the benchmark program; needs numpy, Pillow, safetensors and pydensecrf. Three masks per picture, made by
tests/golden/make_crf.py. Times are the best of --repeat: pydensecrf as the MaskCut release calls it (everything anew
for each mask) and with its lattices kept from mask to mask; ours from pixels to all three masks, with all threads and
with one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydensecrf.densecrf as dcrf
from PIL import Image
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "golden"))
import make_crf  # noqa: E402


def refine_keeping_lattices(rgb, masks):
    height, width = masks[0].shape
    crf = dcrf.DenseCRF2D(width, height, 2)
    crf.addPairwiseGaussian(sxy=make_crf.SIGMA_XY, compat=make_crf.WEIGHT_XY)
    crf.addPairwiseBilateral(sxy=make_crf.BILATERAL_XY, srgb=make_crf.BILATERAL_RGB, rgbim=rgb,
                             compat=make_crf.WEIGHT_BILATERAL)
    refined = []
    for mask in masks:
        logits = np.stack([1.0 - mask, mask]).astype(np.float64)
        probability = np.exp(logits) / np.exp(logits).sum(0)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(probability).reshape(2, -1).astype(np.float32)))
        refined.append(np.array(crf.inference(make_crf.STEPS)).reshape(2, height, width).argmax(0))
    return np.stack(refined)


def best_time(repeat, work):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def run_ours(program, cases, folder, one_thread, repeat):
    environment = dict(os.environ, USOL_CRF_CASES=str(cases), USOL_CRF_RESULT=str(folder / "ours.safetensors"))
    command = [program, "--benchmark_filter=^crf/", "--benchmark_format=json", f"--benchmark_repetitions={repeat}",
               "--benchmark_min_time=0.01"]
    if one_thread:
        command = ["taskset", "-c", "0"] + command
    report = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    times = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration":
            name = run["run_name"].split("/")[1]
            times[name] = min(times.get(name, np.inf), run["real_time"] / 1000)
    return times, load_file(folder / "ours.safetensors")


def iou(a, b):
    union = np.logical_or(a, b).sum()
    return np.logical_and(a, b).sum() / union if union else 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=480, help="multiple of 8")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    cases, reference, as_released, lattices_kept = {}, {}, [], []
    for i, path in enumerate(options.pictures):
        picture = Image.open(path).convert("RGB").resize((options.size, options.size), Image.LANCZOS)
        rgb = np.array(picture)
        masks = make_crf.masks_of(rgb)
        cases[f"{i}.image"], cases[f"{i}.masks"] = rgb, masks
        seconds, reference[i] = best_time(options.repeat, lambda: np.stack([make_crf.refine(rgb, m) for m in masks]))
        as_released.append(seconds)
        seconds, kept = best_time(options.repeat, lambda: refine_keeping_lattices(rgb, masks))
        lattices_kept.append(seconds)
        assert (kept == reference[i]).all()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.safetensors"
        save_file(cases, file)
        ours, refined = run_ours(options.program, file, Path(folder), False, options.repeat)
        ours_alone, _ = run_ours(options.program, file, Path(folder), True, options.repeat)
    ious = []
    for i, path in enumerate(options.pictures):
        ious += [iou(a, b) for a, b in zip(refined[f"{i}.refined"], reference[i])]
        print(f"{path.name}: pydensecrf {as_released[i]:.3f} s, lattices kept {lattices_kept[i]:.3f} s, ours "
              f"{ours[str(i)]:.3f} s, one thread {ours_alone[str(i)]:.3f} s, IoU {min(ious[-3:]):.6f} or more")
    rows = [np.mean(as_released), np.mean(lattices_kept), np.mean(list(ours.values())),
            np.mean(list(ours_alone.values()))]
    print(f"mean: pydensecrf {rows[0]:.3f} s, lattices kept {rows[1]:.3f} s, ours {rows[2]:.3f} s, one thread "
          f"{rows[3]:.3f} s; ratios {rows[0] / rows[2]:.1f} and {rows[1] / rows[2]:.1f}, one thread against lattices "
          f"kept {rows[1] / rows[3]:.1f}")
    print(f"IoU over {len(ious)} masks: mean {np.mean(ious):.6f}, min {np.min(ious):.6f}")


if __name__ == "__main__":
    main()

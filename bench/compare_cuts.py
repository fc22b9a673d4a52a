"""MaskCut's affinity and cuts beside SciPy's solvers: the objects found and the time, in one run.

Usage: compare_cuts.py USOL_BENCH INPUT... [--grid 60] [--depth 384] [--repeat 3] [--solvers eigh,eigsh,lobpcg]
INPUT is a picture (random convolutions of it give features with the structure of a picture, see
tests/golden/make_maskcut.py) or a .npy or .safetensors file with features [D, h, w], e.g. from `usol features`.
Needs numpy, scipy, torch, torchvision, Pillow and safetensors.

Each solver runs the same three stages on a dense affinity made as the MaskCut release makes it (torch product,
numpy threshold, f64), with the rules of the preset `paper` and the canonical sign. eigh is what the release calls;
eigsh and LOBPCG get the normalised matrix and are asked for a residual of 1e-10, as ours is. Ours are the times of
usol_bench: features to objects, everything included. Times are the best of --repeat (eigh: of one).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "golden"))
import make_maskcut  # noqa: E402
from make_maskcut import EPS, STAGES, TAU, canonical, iou, label_object  # noqa: E402

TOLERANCE = 1e-10


def solve_eigh(weights, degrees):
    return linalg.eigh(np.diag(degrees) - weights, np.diag(degrees), subset_by_index=[1, 2])[1][:, 0]


def normalized(weights, degrees):
    scale = 1 / np.sqrt(degrees)
    matrix = weights * scale[:, None]
    matrix *= scale
    return matrix, scale, np.sqrt(degrees / degrees.sum())


def solve_eigsh(weights, degrees):
    matrix, scale, first = normalized(weights, degrees)
    operator = LinearOperator(matrix.shape, matvec=lambda x: matrix @ x - first * (first @ x), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(len(degrees))
    return scale * eigsh(operator, k=1, which="LA", tol=TOLERANCE, v0=start)[1][:, 0]


def solve_lobpcg(weights, degrees):
    matrix, scale, first = normalized(weights, degrees)
    start = np.random.default_rng(0).standard_normal((len(degrees), 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where the last digits of the tolerance are out of reach
        values, vectors = lobpcg(matrix, start, Y=first[:, None], tol=TOLERANCE, maxiter=500, largest=True)
    return scale * vectors[:, np.argmax(values)]


SOLVERS = {"eigh": solve_eigh, "eigsh": solve_eigsh, "lobpcg": solve_lobpcg}


def three_cuts(features, solve):
    """Objects and eigenvectors of the stages, and the seconds spent in all and in the solver."""
    dims = features.shape[1:]
    start, solving = time.perf_counter(), 0.0
    flat = torch.from_numpy(features).reshape(features.shape[0], -1).clone()
    objects, vectors, previous = [], [], None
    for stage in range(STAGES):
        unit = torch.nn.functional.normalize(flat, p=2, dim=0)
        weights = np.where((unit.T @ unit).numpy() >= np.float32(TAU), 1.0, EPS)
        begun = time.perf_counter()
        x = canonical(solve(weights, weights.sum(1)))
        solving += time.perf_counter() - begun
        vectors.append(x.reshape(dims))
        foreground = x >= x.mean()
        grid = foreground.reshape(dims)
        if int(grid[0, 0]) + int(grid[0, -1]) + int(grid[-1, 0]) + int(grid[-1, -1]) >= 2:
            foreground, x = ~foreground, -x
        found = label_object(foreground, np.argmax(x), dims)
        objects.append(found)
        if stage and (iou(previous, found) > 0.5 or found.sum() / dims[0] / dims[1] <= 0.01):
            break
        previous = found
        flat[:, torch.from_numpy(found.ravel())] = 0
    return objects, vectors, time.perf_counter() - start, solving


def run_ours(program, cases, folder, repeat, one_thread):
    environment = dict(os.environ, USOL_CUT_CASES=str(cases), USOL_CUT_RESULT=str(folder / "ours.safetensors"))
    command = [program, "--benchmark_filter=^cuts/", "--benchmark_format=json", f"--benchmark_repetitions={repeat}",
               "--benchmark_min_time=0.05"]
    if one_thread:
        command = ["taskset", "-c", "0"] + command
    report = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    times = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration":
            _, name, part = run["run_name"].split("/")[:3]
            times[name, part] = min(times.get((name, part), np.inf), run["real_time"] / 1000)
    return times, load_file(folder / "ours.safetensors")


def load_features(path, grid, depth):
    if path.suffix == ".npy":
        return np.load(path).astype(np.float32)
    if path.suffix == ".safetensors":
        return load_file(path)["features"].astype(np.float32)
    return make_maskcut.picture_features(path, (grid, grid), depth, 0).numpy().reshape(depth, grid, grid)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--grid", type=int, default=60)
    parser.add_argument("--depth", type=int, default=384)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--solvers", default="eigh,eigsh,lobpcg")
    options = parser.parse_args()
    solvers = options.solvers.split(",")

    features = {str(i): load_features(path, options.grid, options.depth) for i, path in enumerate(options.inputs)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.safetensors"
        save_file({f"{name}.features": value for name, value in features.items()}, file)
        ours, found = run_ours(options.program, file, Path(folder), options.repeat, False)
        alone, _ = run_ours(options.program, file, Path(folder), options.repeat, True)
    ratios = {solver: [] for solver in solvers}
    same = {solver: [0, 0] for solver in solvers}
    for i, path in enumerate(options.inputs):
        name = str(i)
        mine, stages = ours[name, "three_cuts"], 0
        while f"{name}.M_{stages + 1}" in found:
            stages += 1
        print(f"{path.name} {features[name].shape}, {stages} stages: ours {mine * 1e3:.1f} ms (one thread "
              f"{alone[name, 'three_cuts'] * 1e3:.1f}), affinity {ours[name, 'affinity'] * 1e3:.1f} ms, eigenvector "
              f"{ours[name, 'eigenvector'] * 1e3:.1f} ms, product {ours[name, 'product'] * 1e3:.3f} ms")
        for solver in solvers:
            runs = [three_cuts(features[name], SOLVERS[solver]) for _ in range(1 if solver == "eigh" else options.repeat)]
            objects, vectors = runs[0][:2]
            seconds, solving = min(run[2] for run in runs), min(run[3] for run in runs)
            ratios[solver].append(seconds / mine)
            furthest = 0.0
            for t in range(max(stages, len(objects))):
                same[solver][1] += 1
                if t >= min(stages, len(objects)):
                    continue
                same[solver][0] += bool((objects[t] == found[f"{name}.M_{t + 1}"]).all())
                x = found[f"{name}.x_{t + 1}"]
                furthest = max(furthest, np.abs(vectors[t] / np.linalg.norm(vectors[t]) - x / np.linalg.norm(x)).max())
            print(f"  {solver}: {seconds:.3f} s, of it the solver {solving:.3f} s; {seconds / mine:.1f} times ours; "
                  f"eigenvectors differ by {furthest:.1e}")
    for solver in solvers:
        print(f"{solver}: {np.exp(np.mean(np.log(ratios[solver]))):.1f} times ours (geometric mean, "
              f"{min(ratios[solver]):.1f} to {max(ratios[solver]):.1f}); {same[solver][0]} of {same[solver][1]} objects "
              f"equal bit for bit")


if __name__ == "__main__":
    main()

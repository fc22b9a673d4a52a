#!/usr/bin/env python3
"""Takes what ran on a GPU into docs/gpu-status.md (its tables' last column) and docs/performance.md (its section on GPUs).

usage: gpu-status.py DIR [--into FOLDER]   (DIR/results.json: what `scripts/gpu-check run` wrote; FOLDER: docs)
A row of which a run says nothing keeps its text. Results of the emulated device go into another folder than docs only.
"""
import argparse
import json
import os
import re
import sys

BEGIN, END = "<!-- from scripts/gpu-check -->", "<!-- to here -->"
# Rows of gpu-status.md beside those of kernels: how they begin, and the kernels or tests that speak for them.
LIBRARIES = {
    "cuBLASLt products": lambda name, test: {"matmul", "linear"} & set(test.get("kernels", [])),
    "cuSOLVER's": lambda name, test: "symmetric_eigen" in test.get("kernels", []),
    "cuDNN graphs": lambda name, test: {"conv2d", "attention"} & set(test.get("kernels", [])),
    "NCCL's sums": lambda name, test: name.startswith("CudaNccl"),
    "stream-ordered memory pool": lambda name, test: True,
    "CUDA graphs": lambda name, test: name.startswith("CudaGraph"),
}


def verdict(tests):
    """Of [status]; empty if none ran."""
    passed, failed = tests.count("passed"), tests.count("failed")
    if failed:
        return f"**{failed} of {passed + failed} tests failed**"
    return f"{passed} tests passed" if passed else ""


def rows_of(results):
    """{the first words of a row: what its last column becomes}"""
    tests = results.get("tests", {})
    rows, of_kernel = {}, {}
    for test in tests.values():
        for kernel in test.get("kernels", []):
            of_kernel.setdefault(f"`{kernel}`", []).append(test["status"])
    rows.update({kernel: verdict(statuses) for kernel, statuses in of_kernel.items()})
    for name, speaks in LIBRARIES.items():
        rows[name] = verdict([test["status"] for key, test in tests.items() if speaks(key, test)])
    for name, row in results.get("results", {}).items():
        text = (f"{row['alike']} of {row['objects']} objects as on the CPU, {row['identical']} to the bit"
                if "alike" in row else row["status"])
        if row["status"] == "failed":
            text = f"**failed**: {text}"
        key = f"`usol {name.split(',')[0]} --device cuda`"
        rows[key] = "; ".join(filter(None, [rows.get(key), text]))
    if "maskcut" in results:
        rows["its speed"] = f"{results['maskcut']['images_per_second']} images/s"
    return {key: text for key, text in rows.items() if text}


def with_rows(page, rows, where):
    lines = page.split("\n")
    for i, line in enumerate(lines):
        cells = line.split(" | ")
        name = line[2:] if line.startswith("| ") else ""
        text = next((text for key, text in rows.items() if name.startswith(key)), None)
        if text and len(cells) >= 3 and line.endswith(" |"):
            lines[i] = " | ".join(cells[:-1] + [f"{text}, {where} |"])
    return "\n".join(lines)


def number(row, key, form):
    return format(row[key], form) if key in row else "-"


def performance(results, where):
    lines = [f"One run of `scripts/gpu-check run`: {where}."]
    if "maskcut" in results:
        row = results["maskcut"]
        lines += ["", f"`usol maskcut`, {row['weights']}, batches of {row['batch']}: **{row['images_per_second']} images a "
                  f"second** from pictures to the COCO file; {row['masks']['identical']} of {row['masks']['cpu']} masks are "
                  "the CPU's to the bit."]
    training = results.get("training", {})
    if "seconds_a_step" in training:
        lines += ["", f"Cascade Mask R-CNN on R50-FPN, two pictures of 800 pixels: **{training['seconds_a_step']:.3f} s** a "
                  f"training step. Losses of a small one differ from the CPU's by {training['first_difference']:.1e} in the "
                  "first step."]
    if results.get("ops"):
        lines += ["", "Share: the least time that the bytes and operations of a call take by the data sheet, over its time "
                  f"(`bench/roof.py`). PyTorch {results.get('torch', 'was not there')}.", "",
                  "| op | dtype | shapes | usol | share of the roof | PyTorch | times |", "|---|---|---|---|---|---|---|"]
        for row in results["ops"]:
            if "error" in row:
                lines.append(f"| {row['op']} | {row['dtype']} | {row['shapes']} | **failed** | - | - | - |")
                continue
            share = f"{row['share']:.2f} of {row['roof']}" if "share" in row else "-"
            lines.append(f"| {row['op']} | {row['dtype']} | {row['shapes']} | {row['usol_us']:.1f} us | {share} | "
                         f"{number(row, 'torch_us', '.1f')} us | {number(row, 'torch_over_usol', '.2f')} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--into")
    arguments = parser.parse_args()
    with open(os.path.join(arguments.folder, "results.json")) as file:
        results = json.load(file)
    if results["format"] != 1:
        sys.exit(f"gpu-status: {arguments.folder}/results.json: format {results['format']}, expected 1")
    if results["emulated"] and not arguments.into:
        sys.exit("gpu-status: these results are of the emulated device; docs/ is for those of a GPU")
    into = arguments.into or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")
    where = f"{results['gpu']}, {results['revision']}"
    rows = rows_of(results)
    path = os.path.join(into, "gpu-status.md")
    with open(path) as file:
        page = file.read()
    with open(path, "w") as file:
        file.write(with_rows(page, rows, where))
    path = os.path.join(into, "performance.md")
    with open(path) as file:
        page = file.read()
    first, last = page.index(BEGIN) + len(BEGIN), page.index(END)
    with open(path, "w") as file:
        file.write(f"{page[:first]}\n\n{performance(results, where)}\n\n{page[last:]}")
    print(f"{into}: {len(rows)} rows of gpu-status.md, the section of performance.md: {where}")


if __name__ == "__main__":
    main()

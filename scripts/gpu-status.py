#!/usr/bin/env python3
"""Writes what ran on a GPU into the last column of docs/gpu-status.md.

usage: gpu-status.py DIR   (DIR: what `scripts/gpu-check run` wrote)
Rows of kernels come from DIR/kernels.tsv. A kernel that no test called keeps its text. Other rows are left alone.
"""
import re
import sys

PAGE = "docs/gpu-status.md"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    with open(f"{folder}/gpu.txt") as file:
        gpu = re.sub(r"^GPU \d+: | \(UUID.*$", "", file.readline().strip())
    with open(f"{folder}/revision") as file:
        revision = file.read().strip()
    results = {}
    with open(f"{folder}/kernels.tsv") as file:
        for line in file:
            name, passed, failed = line.rstrip("\n").split("\t")
            if int(passed) + int(failed) > 0:
                verdict = f"{passed} tests passed" if failed == "0" else f"**{failed} of {int(passed) + int(failed)} tests failed**"
                results[name] = f"{verdict}, {gpu}, {revision}"
    with open(PAGE) as file:
        lines = file.read().split("\n")
    for i, line in enumerate(lines):
        match = re.match(r"^(\| `([a-z0-9_]+)` \|[^|]+\|)[^|]+\|$", line)
        if match and match[2] in results:
            lines[i] = f"{match[1]} {results[match[2]]} |"
    with open(PAGE, "w") as file:
        file.write("\n".join(lines))
    print(f"{PAGE}: {len(results)} kernels ran on {gpu}")


if __name__ == "__main__":
    main()

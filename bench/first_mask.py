#!/usr/bin/env python3
"""How long a command takes until its first picture is done: from the start of the process to the first record in the journal
beside its output.

usage: first_mask.py [--runs 5] USOL_BINARY[,USOL_BINARY...] VERB PICTURE... [OPTION...]

The verb is one that takes --out FILE (maskcut, predict) or, features, --out DIR; --out is added here. Several binaries are
run in turns. Prints the best and the median of the runs: seconds until the first record, and until the end.
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time


def has_record(journal):
    try:
        with open(journal, "rb") as file:
            return b'\n{"index":' in file.read()
    except FileNotFoundError:
        return False


def run(command, out, journal):
    """Seconds to the first record and to the end."""
    start = time.perf_counter()
    process = subprocess.Popen(command + ["--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = None
    while process.poll() is None and first is None:
        if has_record(journal):
            first = time.perf_counter() - start
        else:
            time.sleep(0.001)
    status = process.wait()
    end = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return first or end, end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("binaries")
    parser.add_argument("verb")
    args, rest = parser.parse_known_args()
    binaries = args.binaries.split(",")
    times = {binary: [] for binary in binaries}
    for _ in range(args.runs):
        for binary in binaries:
            with tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "out" if args.verb == "features" else "out.json")
                journal = os.path.join(out, "features.json.journal") if args.verb == "features" else out + ".journal"
                times[binary].append(run([binary, args.verb, *rest], out, journal))
    for binary, pairs in times.items():
        text = [f"{name} {min(values):.3f} s (median {statistics.median(values):.3f})"
                for name, values in zip(("first record", "end"), zip(*pairs))]
        print(f"{binary}: {', '.join(text)}", flush=True)


if __name__ == "__main__":
    main()

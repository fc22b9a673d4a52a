#!/usr/bin/env python3
"""How `usol maskcut` would go on 16 and 64 cores: a model, not a measurement. The table of docs/performance.md.

bench/cores_model.py NAME START ONE TWO PICTURES BYTES

START: seconds before the first picture and after the last; ONE, TWO: seconds of the whole command for PICTURES pictures
with one and with two threads, measured; BYTES: memory of a picture in work, as --verbose says it.

The model: pictures go in waves, as many at a time as there are cores, a core each (pipeline/pictures_at_once.cc). What a
picture takes grows with each doubling of the cores by the factor that the doubling from one to two was measured to cost
beyond START: caches and memory are shared. The last wave, if it is not full, shares its cores at the efficiency of two.
Nothing is known of sockets, of slower clocks under load and of the disk.
"""
import math
import sys


def seconds(cores, pictures, start, one, growth):
    each = one * growth ** math.log2(cores)
    waves, last = divmod(pictures, cores)
    total = start + waves * each
    if last:
        total += each if cores // last < 2 else each / (1 + 0.5 * (cores // last - 1))
    return total


def main():
    name = sys.argv[1]
    start, one_thread, two_threads, pictures, each_bytes = map(float, sys.argv[2:])
    one = (one_thread - start) / pictures
    growth = (two_threads - start) / (one_thread - start) * 2
    print(f"{name}: {one * 1e3:.0f} ms a picture and core, {growth:.3f} times that for each doubling of the cores")
    print("| work | cores | 24 pictures | times | pictures a second of 10 000 | times | memory |")
    print("|---|---|---|---|---|---|---|")
    for cores in (1, 2, 16, 64):
        few = seconds(cores, 24, start, one, growth)
        many = seconds(cores, 10000, start, one, growth)
        print(f"| {name} | {cores} | {few:.2f} s | {seconds(1, 24, start, one, growth) / few:.1f} | {10000 / many:.1f} | "
              f"{seconds(1, 10000, start, one, growth) / many:.1f} | {cores * each_bytes / 1e9:.1f} GB |")


main()

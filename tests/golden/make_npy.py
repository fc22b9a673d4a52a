#!/usr/bin/env python3
"""Writes tests/golden/npy.bin: .npy files by NumPy, as a bundle (tests/support/bundle.h).

usage: make_npy.py OUTPUT_FOLDER

Every array holds 0..23 (bools: i % 3 == 0) in shape (2, 3, 4), unless its name says otherwise.
"""
import io
import struct
import sys
from pathlib import Path

import numpy as np


def npy(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def main(folder):
    files = {}
    base = np.arange(24).reshape(2, 3, 4)
    for code in "f4 f2 f8 i8 i4 i2 u2 u4".split():
        files["<" + code] = npy(base.astype("<" + code))
        files[">" + code] = npy(base.astype(">" + code))
    for code in ("i1", "u1"):
        files["|" + code] = npy(base.astype(code))
    files["bool"] = npy(base % 3 == 0)
    files["fortran"] = npy(np.asfortranarray(base.astype("<f4")))
    files["fortran big-endian"] = npy(np.asfortranarray(base.astype(">f8")))
    files["version 2"] = npy(base.astype("<f4"), (2, 0))
    files["version 3"] = npy(base.astype("<f4"), (3, 0))
    files["scalar"] = npy(np.float32(7))
    files["vector"] = npy(np.arange(5, dtype="<i4"))
    files["empty"] = npy(np.zeros((0, 3), "<f4"))
    files["bad complex"] = npy(base.astype("<c8"))
    files["bad u8"] = npy(base.astype("<u8"))
    files["bad text"] = npy(np.array(["abc"]))
    files["bad records"] = npy(np.zeros(2, [("a", "<f4")]))
    files["bad objects"] = npy(np.array([{}], dtype=object))
    with open(Path(folder) / "npy.bin", "wb") as out:
        for name, data in files.items():
            out.write(struct.pack("<II", len(name), len(data)) + name.encode() + data)
    print("numpy", np.__version__, len(files), "files")


if __name__ == "__main__":
    main(sys.argv[1])

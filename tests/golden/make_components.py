"""Golden cases of connected components and hole filling: random maps and what scipy.ndimage makes of them.

Usage: make_components.py [OUTPUT.safetensors]; needs numpy, scipy and safetensors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy import ndimage

HERE = Path(__file__).resolve().parent
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (7, 5), (16, 24), (40, 40)]
DENSITIES = [0.0, 0.3, 0.5, 0.59, 0.7, 0.85, 1.0]


def main():
    random = np.random.default_rng(0)
    tensors = {}
    for height, width in SHAPES:
        masks = [random.random((height, width)) < density for density in DENSITIES]
        if height == 40:  # blobs: few components, large holes
            field = ndimage.gaussian_filter(random.standard_normal((height, width)), 2)
            masks += [field > 0, np.abs(field) < 0.1, np.abs(field) > 0.03]
        key = f"{height}x{width}"
        tensors[f"{key}.masks"] = np.stack(masks).astype(np.uint8)
        tensors[f"{key}.labels"] = np.stack([ndimage.label(mask)[0] for mask in masks]).astype(np.int32)
        tensors[f"{key}.filled"] = np.stack([ndimage.binary_fill_holes(mask) for mask in masks]).astype(np.uint8)
    output = sys.argv[1] if len(sys.argv) > 1 else HERE / "components.safetensors"
    save_file(tensors, output, metadata={name: version(name) for name in ("numpy", "scipy")})


if __name__ == "__main__":
    main()

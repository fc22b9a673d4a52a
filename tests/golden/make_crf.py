"""Golden cases of the dense CRF: small pictures and masks, and what pydensecrf makes of them.

Usage: make_crf.py [OUTPUT.safetensors]; needs numpy, Pillow, safetensors and pydensecrf
(github.com/lucasb-eyer/pydensecrf). Pictures come from tests/pictures.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydensecrf.densecrf as dcrf
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
SIGMA_XY, WEIGHT_XY = 3, 7
BILATERAL_XY, BILATERAL_RGB, WEIGHT_BILATERAL = 50, 5, 10
STEPS = 10

# Picture, height and width of the case.
CASES = [("astronaut", 96, 96), ("chelsea", 80, 120), ("coffee", 64, 112), ("rocket", 120, 80), ("camera", 64, 64),
         ("raccoon", 72, 96)]


def masks_of(rgb):
    """Three masks of differing quality: bright blocks of 8 x 8 pixels, saturated ones, and a rectangle."""
    height, width, _ = rgb.shape
    blocks = rgb.reshape(height // 8, 8, width // 8, 8, 3).astype(np.float64).mean((1, 3))
    luma = blocks.mean(2)
    spread = blocks.max(2) - blocks.min(2)
    middle = np.zeros_like(luma)
    middle[middle.shape[0] // 4 : -(middle.shape[0] // 4), middle.shape[1] // 3 : -(middle.shape[1] // 5)] = 1
    small = [luma > luma.mean(), spread > np.median(spread), middle > 0]
    return np.stack([np.kron(mask, np.ones((8, 8))) for mask in small]).astype(np.uint8)


def refine(rgb, mask):
    """The reference's way: softmax of the one-hot mask, its negative logarithm as unary, argmax of the result."""
    height, width = mask.shape
    logits = np.stack([1.0 - mask, mask]).astype(np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(0)
    unary = -np.log(probability).reshape(2, -1).astype(np.float32)
    crf = dcrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=SIGMA_XY, compat=WEIGHT_XY)
    crf.addPairwiseBilateral(sxy=BILATERAL_XY, srgb=BILATERAL_RGB, rgbim=rgb, compat=WEIGHT_BILATERAL)
    q = np.array(crf.inference(STEPS)).reshape(2, height, width)
    return q.argmax(0).astype(np.uint8)


def main():
    tensors = {}
    for name, height, width in CASES:
        picture = Image.open(HERE.parent / "pictures" / f"{name}.jpg").convert("RGB")
        rgb = np.array(picture.resize((width, height), Image.LANCZOS))
        masks = masks_of(rgb)
        tensors[f"{name}.image"] = rgb
        tensors[f"{name}.masks"] = masks
        tensors[f"{name}.refined"] = np.stack([refine(rgb, mask) for mask in masks])
        changed = (tensors[f"{name}.refined"] != masks).mean((1, 2))
        print(name, "share of pixels changed:", np.round(changed, 3))
    versions = {package: version(package) for package in ("pydensecrf", "numpy", "pillow")}
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "crf.safetensors"
    save_file(tensors, output, metadata=versions)
    print(output, versions)


if __name__ == "__main__":
    main()

"""Golden cases of the bilateral solver, made by TokenCut's and FOUND's own implementations.

Usage: make_bilateral_solver.py TOKENCUT_FOLDER FOUND_FOLDER [OUTPUT.safetensors]; the folders are checkouts of
github.com/YangtaoWANG95/TokenCut and github.com/valeoai/FOUND. Needs numpy, scipy < 1.14 (its cg still has `tol`),
scikit-image, Pillow and safetensors.
"""

import importlib.util
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
SIGMAS = {"sigma_spatial": 16, "sigma_luma": 16, "sigma_chroma": 8}


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(mask, height, width):
    """A mask of 8 x 8 pixel blocks."""
    return np.kron(mask, np.ones((8, 8)))[:height, :width].astype(np.float64)


def main():
    tokencut = load("tokencut_solver", Path(sys.argv[1]) / "unsupervised_saliency_detection" / "bilateral_solver.py")
    found = load("found_solver", Path(sys.argv[2]) / "bilateral_solver.py")
    tensors = {}

    def add(name, rgb, target):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            Image.fromarray(rgb).save(path)
            soft, mask = tokencut.bilateral_solver_output(path, target, **SIGMAS)
            soft_too, all_masks = found.bilateral_solver_output(path, target, get_all_cc=True, **SIGMAS)
        assert (soft == soft_too).all()
        tensors[f"{name}.image"], tensors[f"{name}.target"] = rgb, target.astype(np.float32)
        tensors[f"{name}.soft"] = soft.astype(np.float32)
        tensors[f"{name}.mask"] = mask.astype(np.uint8)
        tensors[f"{name}.all"] = all_masks.astype(np.uint8)
        print(name, "share of pixels: target", round(target.mean(), 3), "mask", round(mask.mean(), 3), "all",
              round(all_masks.mean(), 3))

    for name, height, width in [("astronaut", 80, 80), ("chelsea", 64, 83), ("camera", 48, 64)]:
        picture = Image.open(HERE.parent / "pictures" / f"{name}.jpg").convert("RGB")
        rgb = np.array(picture.resize((width, height), Image.LANCZOS))
        rows, columns = -(-height // 8), -(-width // 8)
        box = np.zeros((rows, columns))
        box[1:-2, columns // 4 : -(columns // 4)] = 1
        add(f"{name}_box", rgb, blocks(box, height, width))
        if name == "astronaut":
            add("mostly_foreground", rgb, blocks(1 - box * (np.arange(columns) % 2), height, width))
            add("two_boxes", rgb, blocks((np.arange(columns) % 6 > 2)[None] * np.ones((rows, 1)), height, width))
            add("soft", rgb, np.outer(np.arange(height) / 64, np.arange(width) / 128 + 0.25))
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    add("nothing", grey, np.zeros((16, 16)))
    add("everything", grey, np.ones((16, 16)))
    add("grey_ramp", grey, (np.arange(256).reshape(16, 16) % 5 < 3).astype(np.float64))

    versions = {package: version(package) for package in ("numpy", "scipy", "scikit-image", "pillow")}
    output = Path(sys.argv[3]) if len(sys.argv) > 3 else HERE / "bilateral_solver.safetensors"
    save_file(tensors, output, metadata=versions)
    output.chmod(0o644)
    print(output, versions)


if __name__ == "__main__":
    main()

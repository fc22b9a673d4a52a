"""Golden pixels of what training does to pictures: torchvision's transforms on Pillow images, and Pillow's filters.

Usage: make_adjust.py [OUTPUT.safetensors]. Needs pillow, torchvision, numpy and safetensors. Keys name the operation, its
parameter and the picture: "noise" (noise() here and in the test) or "colours" (4096 of them, 16 levels a channel).
"crop_N" are whole crops, with their parameters in "parameters_N" as io/adjust and train/multi_crop take them.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import save_file
from torchvision.transforms import functional as F

SIDE = 24


def noise(height, width, channels):
    """noise() of make_image.py."""
    i = np.arange(height * width * channels, dtype=np.uint32)
    v = i * np.uint32(2654435761)
    v ^= v >> np.uint32(15)
    v *= np.uint32(2246822519)
    v ^= v >> np.uint32(13)
    v = (v & np.uint32(255)).astype(np.uint8).reshape(height, width, channels)
    v[(np.arange(height) // 8) % 2 == 1] = (v[(np.arange(height) // 8) % 2 == 1] >> 7) * 255
    return v


def colours():
    levels = np.arange(16, dtype=np.uint8) * 17
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(64, 64, 3)


def solarized(image, _):
    return ImageOps.solarize(image)


def blurred(image, radius):
    return image.filter(ImageFilter.GaussianBlur(radius=radius))


OPERATIONS = {
    "brightness": (F.adjust_brightness, (0.6, 1.0, 1.37)),
    "contrast": (F.adjust_contrast, (0.61, 1.4)),
    "saturation": (F.adjust_saturation, (0.0, 0.83, 1.2)),
    "grey": (lambda image, _: F.to_grayscale(image, num_output_channels=3), (0,)),
    "solarize": (solarized, (0,)),
    "blur": (blurred, (0.1, 0.5, 1.0, 1.3, 2.0, 9.0)),
    "hue": (F.adjust_hue, (-0.1, 0.003, 0.0567, 0.1)),
}

# top, left, height, width, flip, jitter's order (brightness, contrast, saturation, hue), its four numbers, grey, blur,
# solarize; a width above the height, so that every Pillow resizes rows first.
CROPS = [
    (3, 5, 30, 39, 1, 2, 0, 3, 1, 1.31, 0.72, 0.85, -0.07, 0, 1.7, 0),
    (0, 0, 40, 52, 0, 3, 2, 1, 0, 0.65, 1.38, 1.19, 0.09, 0, 0.3, 1),
    (7, 11, 9, 12, 1, 1, 0, 2, 3, 1.05, 0.9, 0.93, 0.02, 1, 0.0, 0),
]


def crop(image, parameters):
    top, left, height, width, flip, *order = parameters[:9]
    brightness, contrast, saturation, hue, grey, blur, solarize = parameters[9:]
    image = F.resized_crop(image, top, left, height, width, (SIDE, SIDE), F.InterpolationMode.BICUBIC)
    image = F.hflip(image) if flip else image
    for which in order:
        image = [lambda i: F.adjust_brightness(i, brightness), lambda i: F.adjust_contrast(i, contrast),
                 lambda i: F.adjust_saturation(i, saturation), lambda i: F.adjust_hue(i, hue)][which](image)
    image = F.to_grayscale(image, num_output_channels=3) if grey else image
    image = blurred(image, blur) if blur else image
    return solarized(image, 0) if solarize else image


def main():
    pictures = {"noise": Image.fromarray(noise(19, 23, 3)), "colours": Image.fromarray(colours())}
    out = {}
    for name, (operation, values) in OPERATIONS.items():
        for value in values:
            picture = "colours" if name == "hue" else "noise"
            out[f"{name} {value} {picture}"] = np.asarray(operation(pictures[picture], value)).copy()
    large = Image.fromarray(noise(40, 52, 3))
    for i, parameters in enumerate(CROPS):
        out[f"parameters_{i}"] = np.array(parameters, dtype=np.float64)
        out[f"crop_{i}"] = np.asarray(crop(large, parameters)).copy()
    path = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "adjust.safetensors")
    versions = {name: version(name) for name in ("pillow", "torchvision", "numpy")}
    save_file(out, path, metadata=versions)
    print(path, versions, len(out))


if __name__ == "__main__":
    main()

"""Golden cases of the last step of a mask: from the frame to the picture's size, as run lengths.

Usage: make_image_mask.py [OUTPUT.safetensors]; needs numpy, scipy, pycocotools, safetensors and Pillow 9.5, which the
reference is installed with: Pillow 13 resizes vertically first where that is cheaper, and then rounds differently.

`paper`: 0/255, Pillow's BICUBIC, foreground above half of the result's maximum.
`release`: the same pixels written as the two values lowest and highest and run through pycocotools, whose encoder
starts a new run wherever the byte changes: if the lowest is not zero, runs of background count as foreground when the
first pixel is background.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from safetensors.numpy import save_file
from scipy import ndimage

HERE = Path(__file__).resolve().parent


def both(frame, height, width):
    resized = np.asarray(Image.fromarray(frame * np.uint8(255)).resize((width, height), Image.BICUBIC)).astype(np.int32)
    lowest, highest = resized.min(), resized.max()
    above = resized > highest / 2
    levels = np.where(above, highest, lowest).astype(np.uint8)
    decoded = coco.decode(coco.encode(np.asfortranarray(levels)))
    return above.astype(np.uint8), np.ascontiguousarray(decoded), bool(lowest > 0)


def main():
    random = np.random.default_rng(0)
    tensors, exchanged, raised = {}, 0, 0
    cases = [(32, 32, 20, 45), (32, 32, 64, 64), (30, 40, 33, 7), (24, 24, 24, 24), (32, 32, 5, 3), (16, 16, 1, 1)]
    frames = []
    for rows, columns, height, width in cases:
        field = ndimage.gaussian_filter(random.standard_normal((rows, columns)), 3)
        frames += [(field > 0, height, width), (field > field.max() * 0.8, height, width)]
    frames += [(np.zeros((8, 8)), 6, 9), (np.ones((8, 8)), 6, 9)]
    # Fine patterns shrunk a lot leave no pixel at zero.
    for seed in range(40):
        share = np.linspace(0.25, 0.9, 20)[None] * np.ones((40, 1)) if seed % 2 else np.linspace(0.9, 0.3, 20)[None]
        frames.append((random.random((40, 40)) < np.repeat(share * np.ones((40, 1)), 2, 1), 4, 5))
    for i, (frame, height, width) in enumerate(frames):
        frame = frame.astype(np.uint8)
        paper, release, no_zero = both(frame, height, width)
        differs = not np.array_equal(paper, release)
        raised += no_zero and not paper.all()
        exchanged += differs
        if i > 16 and not no_zero:
            continue
        key = f"case{i:02d}"
        tensors[f"{key}.frame"], tensors[f"{key}.paper"], tensors[f"{key}.release"] = frame, paper, release
    print(len(tensors) // 3, "cases;", raised, "without a zero;", exchanged, "exchanged")
    assert exchanged >= 5 and raised - exchanged >= 5
    assert version("Pillow").startswith("9."), "see above"
    output = sys.argv[1] if len(sys.argv) > 1 else HERE / "image_mask.safetensors"
    save_file(tensors, output, metadata={name: version(name) for name in ("numpy", "Pillow", "pycocotools")})


if __name__ == "__main__":
    main()

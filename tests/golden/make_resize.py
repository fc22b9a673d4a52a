#!/usr/bin/env python3
"""Golden maps of torch.nn.functional.interpolate. usage: make_resize.py OUT_DIR"""
import os
import sys

import torch
from safetensors.torch import save_file

CASES = {  # name: (mode, antialias, (h, w) -> arguments of interpolate)
    "nearest_up": ("nearest", False, dict(size=(11, 17))), "nearest_down": ("nearest", False, dict(size=(3, 5))),
    "bilinear_up": ("bilinear", False, dict(size=(11, 17))), "bilinear_down": ("bilinear", False, dict(size=(3, 5))),
    "bicubic_up": ("bicubic", False, dict(size=(11, 17))), "bicubic_down": ("bicubic", False, dict(size=(3, 5))),
    "bicubic_scale": ("bicubic", False, dict(scale_factor=(15.1 / 7, 5.1 / 9))),
    "nearest_scale": ("nearest", False, dict(scale_factor=(2.3, 0.7))),
    "bilinear_aa": ("bilinear", True, dict(size=(3, 17))), "bicubic_aa": ("bicubic", True, dict(size=(3, 17))),
    "bicubic_aa_up": ("bicubic", True, dict(size=(12, 10))),
}

if __name__ == "__main__":
    x = torch.randn((2, 3, 7, 9), generator=torch.Generator().manual_seed(0))
    tensors = {"x": x}
    for name, (mode, antialias, how) in CASES.items():
        tensors[name] = torch.nn.functional.interpolate(x, mode=mode, antialias=antialias, **how).contiguous()
    save_file(tensors, os.path.join(sys.argv[1], "resize_op.safetensors"), metadata={"torch": torch.__version__})

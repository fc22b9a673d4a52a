#!/usr/bin/env python3
"""Golden max pooling with the gradient of sum(y * seed), made with PyTorch, on small integers: values tie.

usage: make_pool2d.py OUT_DIR
Writes pool2d.safetensors: "<case>.x", ".seed", ".y", ".grad_x".
"""
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

CASES = {
    "stem": dict(kernel_size=3, stride=2, padding=1),
    "p6": dict(kernel_size=1, stride=2),
    "ceil": dict(kernel_size=(3, 2), stride=2, padding=1, ceil_mode=True),
    "ceil_outside": dict(kernel_size=2, stride=3, padding=1, ceil_mode=True),
    "dilated": dict(kernel_size=(2, 3), stride=(1, 2), padding=(0, 1), dilation=2),
}


def main():
    tensors = {}
    generator = torch.Generator().manual_seed(0)
    for name, options in CASES.items():
        x = torch.randint(-2, 3, (2, 3, 7, 8), generator=generator).float().requires_grad_()
        y = F.max_pool2d(x, **options)
        seed = torch.randn(y.shape, generator=generator)
        (y * seed).sum().backward()
        tensors |= {name + ".x": x.detach(), name + ".seed": seed, name + ".y": y.detach(), name + ".grad_x": x.grad}
    path = os.path.join(sys.argv[1], "pool2d.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              metadata={"torch": torch.__version__, "generator": "tests/golden/make_pool2d.py"})
    print(path, os.path.getsize(path), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()

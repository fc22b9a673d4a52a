#!/usr/bin/env python3
"""Golden convolutions, plain and transposed, with the gradients of sum(y * seed), made with PyTorch.

usage: make_conv2d.py OUT_DIR
Writes conv2d.safetensors: "<case>.x", ".weight", ".bias", ".seed", ".y", ".grad_x", ".grad_weight", ".grad_bias".
"""
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


def add_case(tensors, name, function, x, weight, bias):
    generator = torch.Generator().manual_seed(len(tensors))
    draw = lambda shape: torch.randn(shape, generator=generator)
    x, weight, bias = (draw(shape).requires_grad_() for shape in (x, weight, bias))
    y = function(x, weight, bias)
    seed = draw(y.shape)
    (y * seed).sum().backward()
    for key, value in dict(x=x, weight=weight, bias=bias, seed=seed, y=y, grad_x=x.grad, grad_weight=weight.grad,
                           grad_bias=bias.grad).items():
        tensors[f"{name}.{key}"] = value.detach().contiguous()


def main():
    tensors = {}
    add_case(tensors, "same", lambda x, w, b: F.conv2d(x, w, b, padding=1), (2, 16, 9, 7), (32, 16, 3, 3), (32,))
    add_case(tensors, "stem", lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=3).relu(), (1, 3, 30, 23),
             (16, 3, 7, 7), (16,))
    add_case(tensors, "strided", lambda x, w, b: F.conv2d(x, w, b, stride=2), (2, 32, 6, 7), (16, 32, 1, 1), (16,))
    add_case(tensors, "mixed", lambda x, w, b: F.conv2d(x, w, b, (2, 3), (2, 1), (2, 1), 2), (2, 6, 11, 8),
             (8, 3, 3, 2), (8,))
    add_case(tensors, "transposed",
             lambda x, w, b: F.conv_transpose2d(x, w, b, (3, 2), (1, 0), (2, 1), 2, (2, 1)).relu(), (2, 6, 4, 5),
             (6, 4, 3, 2), (8,))
    path = os.path.join(sys.argv[1], "conv2d.safetensors")
    save_file(tensors, path, metadata={"torch": torch.__version__, "generator": "tests/golden/make_conv2d.py"})
    print(path, os.path.getsize(path), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()

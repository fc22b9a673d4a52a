#!/usr/bin/env python3
"""Golden batch normalisation, training and inference, with the gradients of sum(y * seed), made with PyTorch.

usage: make_batch_norm.py OUT_DIR
Writes batch_norm.safetensors: inputs "x", "weight", "bias", "mean", "var", "seed" (momentum 0.1, eps 1e-5), and for
"train", "train_relu" and "infer": ".y", ".grad_x", ".grad_weight", ".grad_bias", ".mean", ".var" afterwards.
"""
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


def main():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)
    inputs = dict(x=draw(4, 6, 5, 3) * 3 + 10, weight=draw(6), bias=draw(6), mean=draw(6), var=draw(6).abs() + 0.5,
                  seed=draw(4, 6, 5, 3))
    tensors = dict(inputs)
    for name in ("train", "train_relu", "infer"):
        x, weight, bias = (inputs[k].clone().requires_grad_() for k in ("x", "weight", "bias"))
        mean, var = inputs["mean"].clone(), inputs["var"].clone()
        y = F.batch_norm(x, mean, var, weight, bias, training=name != "infer", momentum=0.1, eps=1e-5)
        if name == "train_relu":
            y = y.relu()
        (y * inputs["seed"]).sum().backward()
        tensors |= {f"{name}.{k}": v for k, v in dict(y=y.detach(), grad_x=x.grad, grad_weight=weight.grad,
                                                      grad_bias=bias.grad, mean=mean, var=var).items()}
    path = os.path.join(sys.argv[1], "batch_norm.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              metadata={"torch": torch.__version__, "generator": "tests/golden/make_batch_norm.py"})
    print(path, os.path.getsize(path), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()

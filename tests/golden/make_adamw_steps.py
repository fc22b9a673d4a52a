"""Golden steps of AdamW from PyTorch, with and without clipping's effect, decay off for norms, one parameter faster.

Usage: make_adamw_steps.py [OUTPUT.safetensors]. Needs torch, numpy and safetensors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

SHAPES = {"body.weight": (4, 5, 3), "body.norm.weight": (4,), "head.weight": (3, 7), "head.bias": (3,)}
STEPS, RATE, DECAY, FASTER_BY = 10, 0.05, 0.1, 4.0


def main():
    rng = np.random.default_rng(7)
    out, parameters = {}, {}
    for name, shape in SHAPES.items():
        out[f"start/{name}"] = rng.normal(size=shape).astype(np.float32)
        parameters[name] = torch.nn.Parameter(torch.from_numpy(out[f"start/{name}"].copy()))
    groups = [{
        "params": [p],
        "weight_decay": 0.0 if "norm" in name else DECAY,
        "lr": RATE * (FASTER_BY if name.startswith("head") else 1.0),
    } for name, p in parameters.items()]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-7, foreach=False)
    for step in range(STEPS):
        for name, p in parameters.items():
            if name == "head.bias" and step == 2:  # no gradient in this step
                p.grad = None
                continue
            gradient = (rng.normal(size=SHAPES[name]) * (0.05 if step % 2 else 2)).astype(np.float32)
            out[f"grad/{step}/{name}"] = gradient
            p.grad = torch.from_numpy(gradient.copy())
            torch.nn.utils.clip_grad_norm_(p, 1.0)
        optimiser.step()
        for name, p in parameters.items():
            out[f"after/{step}/{name}"] = p.detach().numpy().copy()
    path = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "adamw_steps.safetensors")
    versions = {name: version(name) for name in ("torch", "numpy")}
    save_file(out, path, metadata=versions)
    print(path, versions)


if __name__ == "__main__":
    main()

"""Golden steps of the optimiser and of the learning-rate schedule: SGD and clip_grad_norm_ from PyTorch, the schedule
from fvcore (the classes that Detectron2's solver is built of).

Usage: make_train_steps.py [OUTPUT.safetensors]. Needs torch, numpy, fvcore and safetensors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fvcore.common.param_scheduler import CompositeParamScheduler, LinearParamScheduler, MultiStepParamScheduler
from safetensors.numpy import save_file

SHAPES = {
    "body.weight": (6, 5, 3, 3),
    "body.norm.weight": (6,),
    "body.norm.bias": (6,),
    "head.weight": (7, 11),
    "head.bias": (7,),
}
NORM, FASTER = ("body.norm.weight", "body.norm.bias"), ("head.weight", "head.bias")
STEPS, RATE, DECAY, FASTER_BY = 6, 0.3, 0.01, 4.0


def schedule(iterations, steps, gamma, warmup, factor):
    after = MultiStepParamScheduler([gamma**k for k in range(len(steps) + 1)], milestones=list(steps),
                                    num_updates=iterations)
    length = warmup / iterations
    warm = LinearParamScheduler(factor * after(0.0), after(length))
    return CompositeParamScheduler([warm, after], [length, 1 - length], ["rescaled", "fixed"])


def main():
    rng = np.random.default_rng(5)
    out = {}
    parameters = {}
    for name, shape in SHAPES.items():
        value = rng.normal(size=shape).astype(np.float32)
        out[f"start/{name}"] = value
        parameters[name] = torch.nn.Parameter(torch.from_numpy(value.copy()))
    groups = [{
        "params": [p],
        "weight_decay": 0.0 if name in NORM else DECAY,
        "lr": RATE * (FASTER_BY if name in FASTER else 1.0),
    } for name, p in parameters.items()]
    optimiser = torch.optim.SGD(groups, lr=RATE, momentum=0.9, weight_decay=DECAY)
    for step in range(STEPS):
        for name, p in parameters.items():
            # Norms on both sides of the limit of 1.
            gradient = (rng.normal(size=SHAPES[name]) * (0.05 if step % 2 else 2)).astype(np.float32)
            if name == "head.bias" and step == 2:  # no gradient in this step
                p.grad = None
                continue
            out[f"grad/{step}/{name}"] = gradient
            p.grad = torch.from_numpy(gradient.copy())
            torch.nn.utils.clip_grad_norm_(p, 1.0)
        optimiser.step()
        for name, p in parameters.items():
            out[f"after/{step}/{name}"] = p.detach().numpy().copy()

    at = np.array([0, 1, 37, 499, 999, 1000, 1001, 79998, 79999, 80000, 80001, 119999, 120000, 159999])
    out["schedule/at"] = at
    for name, arguments in {
            "base": (160000, (80000,), 0.02, 1000, 0.001),
            "steps": (160000, (80000, 120000), 0.1, 1000, 0.001),
            "early": (160000, (500, 80000), 0.1, 1000, 0.001),
    }.items():
        function = schedule(*arguments)
        out[f"schedule/{name}"] = np.array([function(i / arguments[0]) for i in at])
    path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "train_steps.safetensors"
    versions = {name: version(name) for name in ("torch", "numpy", "fvcore")}
    save_file(out, str(path), metadata=versions)
    print(path, versions)


if __name__ == "__main__":
    main()

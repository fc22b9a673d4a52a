"""Golden statistics of batch norms over several batches: fvcore's update_bn_stats, which Detectron2's PreciseBN runs, on
two convolutions with norms and a ReLU between them. The batches differ in size.

Usage: make_precise_bn.py [OUTPUT.safetensors]. Needs torch, fvcore and safetensors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from fvcore.nn.precise_bn import update_bn_stats
from safetensors.torch import save_file
from torch import nn

SIZES = [(2, 3, 9, 12), (1, 3, 5, 7), (3, 3, 8, 6), (2, 3, 16, 16)]


def main():
    generator = torch.Generator().manual_seed(11)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
                          nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    batches = [torch.randn(size, generator=generator) * (i + 1) + i for i, size in enumerate(SIZES)]
    out = {f"batch.{i}": b for i, b in enumerate(batches)}
    out |= {f"start.{name}": value.clone() for name, value in model.state_dict().items() if value.ndim > 0}
    model.train()
    update_bn_stats(model, batches, len(batches))
    out |= {f"after.{name}": value.clone() for name, value in model.state_dict().items() if "running" in name}
    path = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "precise_bn.safetensors")
    versions = {name: version(name) for name in ("torch", "fvcore")}
    save_file(out, path, metadata=versions)
    print(path, versions)


if __name__ == "__main__":
    main()

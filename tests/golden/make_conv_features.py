#!/usr/bin/env python3
"""Writes conv_features.bin: tiny ConvNeXts and a ResNet in their published layouts, and the maps that DINOv3's code,
transformers, timm and torchvision compute with them, as a bundle (tests/support/bundle.h). Its entry "versions" names
PyTorch's, torchvision's, transformers' and timm's.

usage: make_conv_features.py DINOV3_CHECKOUT OUTPUT_FOLDER

For each layout two entries: "<layout>.tensors", a line "NAME OFFSET SCALE SIZE SIZE ..." per tensor of the file, whose
values both sides compute (make_hub_vits.py, value), and "<layout>.outputs" (safetensors): "<size>.<stage>", the maps
[D, h, w] of stages 0 to 3 for an image of that size, and for one of them "<size>.joined": stages 1 to 3 enlarged to the
finest of them, each of length 1 in every patch, one after the other.
"""
import struct
import sys
from pathlib import Path

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from make_hub_vits import images, value

WIDTHS, DEPTHS, SIZE = [8, 16, 24, 32], [2, 1, 2, 1], (32, 64)


def law(name, tensor):
    if tensor.dim() >= 2:
        return 0.0, 0.4
    ones = name.endswith(("gamma", "running_var")) or (name.endswith("weight") and tensor.dim() == 1)
    return (1.0 if ones else 0.0), 1.0


def fill(saved):
    lines, values = [], {}
    for name, tensor in saved.items():
        if not tensor.is_floating_point():
            values[name] = tensor
            continue
        offset, scale = law(name, tensor)
        lines.append(" ".join([name, str(offset), str(scale), *map(str, tensor.shape)]))
        # A module may be there under two names; only one value can be its.
        values[name] = value("norm" + name[7:] if name.startswith("norms.3") else name, tensor.shape, offset, scale)
    return "\n".join(lines) + "\n", values


def loaded(model):
    lines, values = fill(model.eval().state_dict())
    model.load_state_dict(values)
    return lines


def outputs(maps):
    return {"%dx%d.%d" % (*SIZE, stage): m[0].detach().clone().contiguous() for stage, m in enumerate(maps)}


def official(checkout):
    sys.path.insert(0, checkout)
    from dinov3.models.convnext import ConvNeXt
    model = ConvNeXt(depths=DEPTHS, dims=WIDTHS)
    lines = loaded(model)
    made = {}
    for size in (SIZE, (40, 56)):
        with torch.no_grad():
            maps = model.get_intermediate_layers(images(*size), n=range(4), reshape=True, norm=True)
        kept = range(4) if size == SIZE else range(2)
        made.update({"%dx%d.%d" % (*size, stage): maps[stage][0].contiguous() for stage in kept})
        if size == SIZE:
            grids = [maps[1]] + [F.interpolate(maps[s], scale_factor=2 ** (s - 1), mode="bilinear") for s in (2, 3)]
            made["%dx%d.joined" % size] = torch.cat([F.normalize(m, dim=1) for m in grids], 1)[0]
    return lines, made


def hugging_face(scratch, rename):
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=WIDTHS, depths=DEPTHS)
    model = transformers.DINOv3ConvNextModel(config).eval()
    model.save_pretrained(scratch)
    file = scratch / "model.safetensors"
    lines, values = fill({rename(name): t for name, t in safetensors.torch.load_file(file).items()})
    safetensors.torch.save_file(values, file, metadata={"format": "pt"})
    model = transformers.DINOv3ConvNextModel.from_pretrained(scratch).eval()
    with torch.no_grad():
        result = model(images(*SIZE), output_hidden_states=True)
    maps = list(result.hidden_states)[-4:]
    h, w = maps[3].shape[2:]
    maps[3] = result.last_hidden_state[:, 1:].transpose(1, 2).reshape(1, -1, h, w)
    for left in scratch.iterdir():
        left.unlink()
    scratch.rmdir()
    return lines, outputs(maps)


def from_timm():
    model = timm.create_model("convnext_tiny.dinov3_lvd1689m", pretrained=False, dims=WIDTHS, depths=DEPTHS, num_classes=0)
    lines = loaded(model)
    with torch.no_grad():
        maps = model.forward_intermediates(images(*SIZE), intermediates_only=True)
        maps[3] = model.head.norm(maps[3])
    return lines, outputs(maps)


class SmallResNet(torchvision.models.ResNet):
    """torchvision's own blocks and forward pass at an eighth of the widths and less."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        block = torchvision.models.resnet.Bottleneck
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = torch.nn.BatchNorm2d, 8, 1, 1, 64
        self.conv1 = torch.nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(8)
        self.relu = torch.nn.ReLU()
        self.maxpool = torch.nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 4, 2)
        self.layer2 = self._make_layer(block, 8, 1, stride=2)
        self.layer3 = self._make_layer(block, 16, 2, stride=2)
        self.layer4 = self._make_layer(block, 32, 1, stride=2)
        self.fc = torch.nn.Linear(128, 5)


def resnet():
    model = SmallResNet()
    lines = loaded(model)
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(images(*SIZE)))))
        maps = []
        for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
            x = layer(x)
            maps.append(x)
    return lines, outputs(maps)


def main(checkout, folder):
    scratch = Path(folder) / "scratch"
    made = {"dinov3 convnext": official(checkout),
            "hf convnext": hugging_face(scratch, lambda name: name),
            "hf convnext model": hugging_face(scratch, lambda name: name.replace("stages.", "model.stages.", 1)),
            "timm convnext": from_timm(),
            "torchvision resnet": resnet()}
    versions = " ".join([torch.__version__, torchvision.__version__, transformers.__version__, timm.__version__])
    path = Path(folder) / "conv_features.bin"
    with open(path, "wb") as out:
        out.write(struct.pack("<II", 8, len(versions)) + b"versions" + versions.encode())
        for name, (lines, maps) in made.items():
            for key, data in ((name + ".tensors", lines.encode()), (name + ".outputs", safetensors.torch.save(maps))):
                out.write(struct.pack("<II", len(key), len(data)) + key.encode() + data)
    print(path, path.stat().st_size, "bytes", versions)
    print({k: (v[0].splitlines()[:3], {n: list(t.shape) for n, t in v[1].items()}) for k, v in made.items()})


if __name__ == "__main__":
    main(*sys.argv[1:3])

#!/usr/bin/env python3
"""Golden features and gradients of small ResNets and feature pyramids, made with Detectron2's own modules.

usage: make_fpn.py DETECTRON2_SOURCE OUT_DIR
Writes resnet_fpn.safetensors. For each case: "<case>.w.<parameter or buffer>" before the pass, "<case>.size"
of the images, "<case>.train.<map>", "<case>.infer.<map>" (with the statistics after the training pass),
"<case>.after.<running statistic>", "<case>.grad.<parameter>" of sum(map * seed) over all maps of the training pass.
Images and seeds are pattern(shape, 0) and pattern(shape, 1 + number of the map).
"""
import os
import sys
import warnings

sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")

import torch  # noqa: E402
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool  # noqa: E402
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def pattern(shape, salt):
    """Numbers in [-1, 1), exact in f32, that look random: a multiplicative hash of the index."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.int64) + 1000003 * salt
    return ((index * 2654435761 % 2**32) >> 8).double().mul(2.0**-23).sub(1).float().reshape(shape)


def make_resnet(blocks, norm, groups=1, width=2, stride_in_1x1=False, res5_dilation=1, freeze_at=0):
    stem, stages, channels_in, channels = 4, [], 4, 8
    for i, count in enumerate(blocks):
        dilation = res5_dilation if i == 3 else 1
        stride = 1 if i == 0 or dilation == 2 else 2
        stages.append(ResNet.make_stage(
            BottleneckBlock, count, stride_per_block=[stride] + [1] * (count - 1), in_channels=channels_in,
            out_channels=channels, bottleneck_channels=groups * width << i, num_groups=groups, norm=norm,
            stride_in_1x1=stride_in_1x1, dilation=dilation))
        channels_in, channels = channels, 2 * channels
    return ResNet(BasicStem(3, stem, norm), stages, out_features=["res2", "res3", "res4", "res5"], freeze_at=freeze_at)


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith(("norm.weight", "running_var")):
            value.copy_(1 + 0.4 * noise.tanh())
        elif "stem.conv1.norm.bias" in name:
            value.copy_(0.3 * noise - 1)  # else no pooled value is 0 and the next norm takes every shift away
        elif value.ndim == 1:
            value.copy_(0.3 * noise)
        else:
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)


def add_case(tensors, case, model, size, seed):
    randomise(model, seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            tensors[f"{case}.w.{name}"] = value.clone()
    tensors[f"{case}.size"] = torch.tensor(size)
    images = pattern((2, 3, *size), 0)
    model.train()
    loss = 0
    for i, (name, value) in enumerate(model(images).items()):
        tensors[f"{case}.train.{name}"] = value.detach()
        loss = loss + (value * pattern(value.shape, 1 + i)).sum()
    loss.backward()
    for name, value in model.named_parameters():
        if value.grad is not None:
            tensors[f"{case}.grad.{name}"] = value.grad
    for name, value in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            tensors[f"{case}.after.{name}"] = value.clone()
    model.eval()
    with torch.no_grad():
        for name, value in model(images).items():
            tensors[f"{case}.infer.{name}"] = value


def main():
    tensors = {}
    # The detector's own kind: batch statistics everywhere (SyncBN refuses the CPU; in one process it is BN).
    bottom_up = make_resnet([2, 1, 1, 1], "BN")
    add_case(tensors, "bn", FPN(bottom_up, ["res2", "res3", "res4", "res5"], 6, "BN", LastLevelMaxPool()), (96, 128), 1)
    # Detectron2's default kind: frozen norms, biases in the pyramid, two stages frozen; and groups.
    bottom_up = make_resnet([1, 2, 1, 1], "FrozenBN", groups=2, width=2, stride_in_1x1=True, freeze_at=2)
    add_case(tensors, "frozen", FPN(bottom_up, ["res2", "res3", "res4", "res5"], 6, "", LastLevelMaxPool()), (64, 96), 2)
    add_case(tensors, "dilated", make_resnet([1, 1, 1, 2], "BN", res5_dilation=2), (50, 75), 3)
    path = os.path.join(sys.argv[2], "resnet_fpn.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              metadata={"torch": torch.__version__, "generator": "tests/golden/make_fpn.py"})
    print(path, os.path.getsize(path), "bytes, torch", torch.__version__)


if __name__ == "__main__":
    main()

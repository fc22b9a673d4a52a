#!/usr/bin/env python3
"""Writes hub_vits.bin: tiny vision transformers in the layouts of the hubs, and what transformers and timm compute with
them, as a bundle (tests/support/bundle.h). Its entry "versions" names PyTorch's, transformers' and timm's.

usage: make_hub_vits.py OUTPUT_FOLDER

For each layout two entries: "<layout>.tensors", a line "NAME OFFSET SCALE SIZE SIZE ..." per tensor of the file that the
hub's own library saves, and "<layout>.outputs" (safetensors): for each image size the last block's keys of the patches
[h w, D] and the normalised tokens [L, D]. The tensors' values are not stored: both sides compute them (value below).
"""
import struct
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
import transformers

WIDTH, PATCH, GRID = 64, 4, 4


def value(name, shape, offset, scale):
    """offset + scale (u - 1/2), u a hash of the name and the element's index in [0, 1)."""
    seed = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            seed = (seed ^ np.uint32(byte)) * np.uint32(16777619)
        x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B1) ^ seed
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        x ^= x >> np.uint32(16)
    u = x.astype(np.float64) / 2.0 ** 32
    return torch.from_numpy((offset + scale * (u - 0.5)).astype(np.float32)).reshape(shape)


def law(name, tensor):
    if tensor.dim() >= 2 and "token" not in name and "pos" not in name:
        return 0.0, 0.4
    ones = name.endswith("weight") or name.endswith("lambda1") or name.endswith("gamma")
    return (1.0 if ones else 0.0), 1.0


def fill(saved, law_of=law):
    """saved: {name in the file: tensor}; the lines that describe them and their new values."""
    lines, values = [], {}
    for name, tensor in saved.items():
        offset, scale = law_of(name, tensor)
        shape = list(tensor.shape)
        lines.append(" ".join([name, str(offset), str(scale), *map(str, shape)]))
        values[name] = value(name, shape, offset, scale)
    return "\n".join(lines) + "\n", values


def images(height, width):
    return value("image", (1, 3, height, width), 0.0, 4.0)


def hooked(module, run):
    kept = {}
    handle = module.register_forward_hook(lambda m, i, o: kept.update(out=o))
    with torch.no_grad():
        result = run()
    handle.remove()
    return kept["out"][0], result


def hugging_face(model, folder, sizes, registers=0):
    model.eval().save_pretrained(folder)
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    lines, values = fill(saved)
    safetensors.torch.save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    model = type(model).from_pretrained(folder).eval()
    base = model.base_model
    keys = [m for n, m in model.named_modules() if n.endswith("key") or n.endswith("k_proj")]
    outputs = {}
    for size in sizes:
        more = {"interpolate_pos_encoding": True} if type(base).__name__ == "ViTModel" else {}
        key, result = hooked(keys[-1], lambda: base(images(*size), **more))
        outputs["%dx%d.keys" % size] = key[1 + registers:]
        outputs["%dx%d.tokens" % size] = result.last_hidden_state[0]
    return lines, outputs


def from_timm(model, sizes, registers=0):
    lines, values = fill(model.eval().state_dict())
    model.load_state_dict(values)
    outputs = {}
    for size in sizes:
        qkv, result = hooked(model.blocks[-1].attn.qkv, lambda: model.forward_features(images(*size)))
        outputs["%dx%d.keys" % size] = qkv[1 + registers:, WIDTH:2 * WIDTH]
        outputs["%dx%d.tokens" % size] = result[0]
    return lines, outputs


def write(path, made):
    versions = " ".join([torch.__version__, transformers.__version__, timm.__version__])
    with open(path, "wb") as out:
        out.write(struct.pack("<II", 8, len(versions)) + b"versions" + versions.encode())
        for name, (lines, outputs) in made.items():
            outputs = {k: v.detach().clone().contiguous() for k, v in outputs.items()}
            for key, data in ((name + ".tensors", lines.encode()),
                              (name + ".outputs", safetensors.torch.save(outputs))):
                out.write(struct.pack("<II", len(key), len(data)) + key.encode() + data)
    print("torch", torch.__version__, "transformers", transformers.__version__, "timm", timm.__version__,
          {k: (len(v[0]), {n: list(t.shape) for n, t in v[1].items()}) for k, v in made.items()})


def main(folder):
    stored, other = (PATCH * GRID, PATCH * GRID), (20, 24)
    common = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=1, image_size=PATCH * GRID, patch_size=PATCH)
    # DINO's own epsilon: the hub's configuration says 1e-12.
    vit = transformers.ViTConfig(intermediate_size=64, layer_norm_eps=1e-6, **common)
    dinov2 = transformers.Dinov2Config(mlp_ratio=1, **common)
    gated = transformers.Dinov2Config(mlp_ratio=1, use_swiglu_ffn=True, **common)
    registers = transformers.Dinov2WithRegistersConfig(mlp_ratio=1, num_register_tokens=4, **common)
    made = {}
    for name, model, sizes, extra in (
            ("hf vit", transformers.ViTModel(vit), [stored], 0),
            ("hf vit classifier", transformers.ViTForImageClassification(vit), [stored], 0),
            ("hf dinov2", transformers.Dinov2Model(dinov2), [stored], 0),
            ("hf dinov2 classifier", transformers.Dinov2ForImageClassification(dinov2), [stored], 0),
            ("hf dinov2 gated", transformers.Dinov2Model(gated), [stored], 0),
            ("hf dinov2 registers", transformers.Dinov2WithRegistersModel(registers), [stored, other], 4)):
        scratch = Path(folder) / "scratch"
        made[name] = hugging_face(model, scratch, sizes, extra)
        for file in scratch.iterdir():
            file.unlink()
        scratch.rmdir()
    tiny = dict(pretrained=False, embed_dim=WIDTH, depth=2, num_heads=1, img_size=PATCH * GRID, patch_size=PATCH,
                dynamic_img_size=True, num_classes=0)
    for name, arch, ratio, sizes, extra in (
            ("timm dino", "vit_small_patch16_224.dino", 1, [stored], 0),
            ("timm dinov2", "vit_small_patch14_dinov2", 1, [stored], 0),
            ("timm dinov2 giant", "vit_giant_patch14_dinov2", 2, [stored], 0),
            ("timm reg4", "vit_small_patch14_reg4_dinov2", 1, [stored, other], 4),
            ("timm reg4 giant", "vit_giant_patch14_reg4_dinov2", 2, [stored], 4)):
        made[name] = from_timm(timm.create_model(arch, mlp_ratio=ratio, **tiny), sizes, extra)
    write(Path(folder) / "hub_vits.bin", made)


if __name__ == "__main__":
    main(sys.argv[1])

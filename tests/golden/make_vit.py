#!/usr/bin/env python3
"""Golden features of small vision transformers, made with the official DINO and DINOv2 model code.

usage: make_vit.py DINO_CHECKOUT DINOV2_CHECKOUT OUT_DIR
Writes vit_dino.safetensors and vit_dinov2.safetensors: random weights ("w.<name>"), images and expected outputs.
"""
import os
import sys

import torch
from safetensors.torch import save_file


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        with torch.no_grad():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim == 1 else 0.1))
            if "norm" in name and name.endswith("weight"):
                p.add_(1.0)


def last_qkv(model, image, blocks):
    kept = {}
    handle = blocks[-1].attn.qkv.register_forward_hook(lambda m, i, o: kept.update(qkv=o))
    with torch.no_grad():
        model(image)
    handle.remove()
    return kept["qkv"]


def write(path, model, cases):
    tensors = {"w." + k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}
    for name, (h, w) in cases.items():
        generator = torch.Generator().manual_seed(h * 1000 + w)
        image = torch.randn((2 if name == "stored" else 1, 3, h, w), generator=generator)
        tensors[name + ".image"] = image
        tensors[name + ".qkv"] = last_qkv(model, image, model.blocks)
    save_file(tensors, path, metadata={"torch": torch.__version__, "generator": "tests/golden/make_vit.py"})
    print(path, os.path.getsize(path), "bytes")


def main():
    dino, dinov2, out = sys.argv[1:4]
    sys.path.insert(0, dino)
    import vision_transformer as vits

    model = vits.VisionTransformer(img_size=[32], patch_size=8, embed_dim=64, depth=2, num_heads=1, mlp_ratio=2,
                                   qkv_bias=True, norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6)).eval()
    randomise(model, 1)
    # stored: the grid of the checkpoint; the others resize the position embedding, up and down, square and not.
    write(os.path.join(out, "vit_dino.safetensors"), model,
          {"stored": (32, 32), "larger": (56, 56), "smaller": (24, 24), "wide": (24, 48), "same_count": (16, 64)})
    sys.path.remove(dino)

    os.environ["XFORMERS_DISABLED"] = "1"
    sys.path.insert(0, dinov2)
    from dinov2.models.vision_transformer import DinoVisionTransformer
    for name, registers, ffn in (("vit_dinov2.safetensors", 0, "mlp"), ("vit_dinov2_reg.safetensors", 2, "swiglufused")):
        model = DinoVisionTransformer(img_size=28, patch_size=7, embed_dim=64, depth=2, num_heads=1, mlp_ratio=2,
                                      init_values=1.0, ffn_layer=ffn, block_chunks=0, num_register_tokens=registers,
                                      interpolate_antialias=registers > 0,
                                      interpolate_offset=0.0 if registers else 0.1).eval()
        randomise(model, 2 + registers)
        write(os.path.join(out, name), model, {"stored": (28, 28), "larger": (49, 42), "smaller": (14, 21)})


if __name__ == "__main__":
    main()

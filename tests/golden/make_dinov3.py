#!/usr/bin/env python3
"""Writes dinov3.bin: tiny DINOv3 vision transformers in their layouts, and what the original code, transformers and timm
compute with them, as a bundle (tests/support/bundle.h) with the entries of hub_vits.bin (make_hub_vits.py).

usage: make_dinov3.py DINOV3_CHECKOUT OUTPUT_FOLDER

Beside keys and tokens, the layouts of the original code have for each image size the class token's attention to the
patches in the last block, [heads, h w].
"""
import sys
import tempfile
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

from make_hub_vits import PATCH, WIDTH, fill, hooked, images, law, write

SQUARE, WIDE = (12, 12), (8, 20)
TOKENS = 4  # storage tokens


def law_of_dinov3(name, tensor):
    if name.endswith("periods"):
        return 3.0, 4.0
    if name.endswith("bias_mask"):
        return 0.5, 1.0
    if name.endswith(("gamma_1", "gamma_2")):
        return 1.0, 1.0
    return law(name, tensor)


def keys_and_tokens(outputs, size, keys, tokens, skipped):
    outputs["%dx%d.keys" % size] = keys[skipped:]
    outputs["%dx%d.tokens" % size] = tokens


def original(sizes, mask=None, **config):
    """mask "rule": bias_mask is what the original code sets it to, whatever the file says."""
    from dinov3.models.vision_transformer import DinoVisionTransformer
    model = DinoVisionTransformer(**{**dict(
        patch_size=PATCH, embed_dim=WIDTH, depth=2, num_heads=4, ffn_ratio=1, qkv_bias=True, mask_k_bias=True,
        layerscale_init=1.0, norm_layer="layernormbf16", n_storage_tokens=TOKENS, pos_embed_rope_dtype="fp32"), **config})
    lines, values = fill(model.eval().state_dict(), law_of_dinov3)
    for name in values:
        if mask == "rule" and name.endswith("bias_mask"):
            values[name] = torch.ones(3 * WIDTH)
            values[name][WIDTH:2 * WIDTH] = 0
    model.load_state_dict(values)
    attn = model.blocks[-1].attn
    skipped = 1 + model.n_storage_tokens
    outputs = {}
    for size in sizes:
        place = {}
        handle = attn.register_forward_hook(lambda m, i, k, o: place.update(rope=k["rope"]), with_kwargs=True)
        qkv, result = hooked(attn.qkv, lambda: model.forward_features(images(*size)))
        handle.remove()
        tokens = torch.cat([result["x_norm_clstoken"][:, None], result["x_storage_tokens"],
                            result["x_norm_patchtokens"]], 1)[0]
        keys_and_tokens(outputs, size, qkv[:, WIDTH:2 * WIDTH], tokens, skipped)
        heads = attn.num_heads
        q, k, _ = qkv.reshape(1, -1, 3, heads, WIDTH // heads).unbind(2)
        q, k = attn.apply_rope(q.transpose(1, 2), k.transpose(1, 2), place["rope"])
        scores = q[0, :, :1] @ k[0].transpose(1, 2) * attn.scale
        outputs["%dx%d.attention" % size] = scores.softmax(-1)[:, 0, skipped:]
    return lines, outputs


def hugging_face(sizes, gated):
    config = transformers.DINOv3ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=1, intermediate_size=WIDTH, patch_size=PATCH,
        image_size=SQUARE[0], num_register_tokens=TOKENS, use_gated_mlp=gated, hidden_act="silu" if gated else "gelu")
    with tempfile.TemporaryDirectory() as scratch:
        transformers.DINOv3ViTModel(config).save_pretrained(scratch)
        file = Path(scratch) / "model.safetensors"
        lines, values = fill(load_file(file), law_of_dinov3)
        save_file(values, file, metadata={"format": "pt"})
        model = transformers.DINOv3ViTModel.from_pretrained(scratch).eval()
    keys = [m for n, m in model.named_modules() if n.endswith("k_proj")][-1]
    outputs = {}
    for size in sizes:
        key, result = hooked(keys, lambda: model(images(*size)))
        keys_and_tokens(outputs, size, key, result.last_hidden_state[0], 1 + TOKENS)
    return lines, outputs


def from_timm(sizes, arch):
    model = timm.create_model(arch, pretrained=False, embed_dim=WIDTH, depth=2, num_heads=1, mlp_ratio=1,
                              img_size=SQUARE, patch_size=PATCH, num_classes=0).eval()
    lines, values = fill(model.state_dict(), law_of_dinov3)
    model.load_state_dict(values)
    # Its attention adds the biases without calling the projection's module, so the projection's input is taken.
    block, outputs = model.blocks[-1], {}
    for size in sizes:
        x, result = hooked(block.norm1, lambda: model.forward_features(images(*size)))
        keys_and_tokens(outputs, size, x @ block.attn.qkv.weight[WIDTH:2 * WIDTH].T, result[0], 1 + TOKENS)
    return lines, outputs


def main():
    sys.path.insert(0, sys.argv[1])
    write(Path(sys.argv[2]) / "dinov3.bin", {
        "original": original([SQUARE, WIDE]),
        "original gated": original([WIDE], num_heads=2, ffn_ratio=2, ffn_layer="swiglu", qkv_bias=False,
                                   untie_global_and_local_cls_norm=True),
        "original mask": original([WIDE], mask="rule", depth=1),
        "original no mask": original([WIDE], mask_k_bias=False, n_storage_tokens=0, depth=1),
        "hf": hugging_face([SQUARE, WIDE], False),
        "hf gated": hugging_face([WIDE], True),
        "timm": from_timm([WIDE], "vit_small_patch16_dinov3"),
        "timm plus": from_timm([WIDE], "vit_small_plus_patch16_dinov3_qkvb"),
        "timm eupe": from_timm([SQUARE, WIDE], "vit_tiny_patch16_dinov3_qkvb"),
    })


if __name__ == "__main__":
    main()

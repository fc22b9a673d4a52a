"""Loads what `usol pretrain` has made into DINO's own network, strictly, and compares the keys of its last block with those
of `usol features` on one picture.

Usage: check_pretrained.py DINO MODEL.pth FEATURES.safetensors PICTURE SIZE. DINO is a checkout of facebookresearch/dino;
FEATURES is what `usol features PICTURE --weights MODEL.pth --size SIZE --out DIR` wrote for the picture. Needs torch,
torchvision, pillow, numpy and safetensors.
"""

import sys
from functools import partial

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file
from torchvision import transforms


def main():
    dino, weights, features, picture, size = sys.argv[1:6]
    sys.path.insert(0, dino)
    from vision_transformer import VisionTransformer

    state = torch.load(weights, weights_only=True)
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = sum(name.endswith("attn.qkv.weight") for name in state)
    grid = int((state["pos_embed"].shape[1] - 1) ** 0.5)
    model = VisionTransformer(img_size=[grid * patch], patch_size=patch, embed_dim=width, depth=depth,
                              num_heads=width // 64, qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    print(model.load_state_dict(state, strict=True))
    keys = {}
    model.blocks[-1].attn.qkv.register_forward_hook(lambda _, __, out: keys.update(qkv=out))
    image = Image.open(picture).convert("RGB").resize((int(size), int(size)), Image.LANCZOS)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with torch.no_grad():
        model.eval()(transforms.Normalize(mean, deviation)(transforms.ToTensor()(image))[None])
    side = int(size) // patch
    expected = keys["qkv"][0, 1:, width:2 * width].T.reshape(width, side, side).numpy()
    worst = np.abs(load_file(features)["features"] - expected).max()
    print(f"largest difference {worst:.2e} of values up to {np.abs(expected).max():.2f}")
    assert worst < 1e-4


if __name__ == "__main__":
    main()

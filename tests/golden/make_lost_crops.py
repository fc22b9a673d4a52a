#!/usr/bin/env python3
"""Class tokens of crops, as LOST describes its boxes, and what it clusters.

usage: make_lost_crops.py DINO_CHECKOUT OUT_DIR
The steps are those of cluster_for_OD.py (valeoai/LOST at fcedbecb644f18358a660ce58c739cc6374feda8): crop the normalised
picture, torchvision's Resize(256, bicubic) of a tensor (in torchvision 0.8, LOST's, without antialiasing), DINO's model,
normalize; then whiten (SciPy) and unit length. The model has the weights of vit_dino.safetensors.
"""
import os
import sys

import numpy as np
import scipy
import scipy.cluster.vq as vq
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision import transforms

DINO, OUT = sys.argv[1:3]
sys.path.insert(0, DINO)
import vision_transformer as vits  # noqa: E402

BOXES = [[3, 5, 43, 37], [10.5, 2.5, 31.5, 60.4], [0, 0, 90, 64], [50, 40, 89, 49], [20, 20, 28, 28]]  # x0 y0 x1 y1


def main():
    model = vits.VisionTransformer(img_size=[32], patch_size=8, embed_dim=64, depth=2, num_heads=1, mlp_ratio=2,
                                   qkv_bias=True, norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6)).eval()
    weights = load_file(os.path.join(OUT, "vit_dino.safetensors"))
    model.load_state_dict({k[2:]: v for k, v in weights.items() if k.startswith("w.")})
    low = torch.rand((1, 3, 8, 11), generator=torch.Generator().manual_seed(5)) * 255
    picture = torch.nn.functional.interpolate(low, (64, 90), mode="bicubic")[0].clamp(0, 255).round().to(torch.uint8)
    to_input = transforms.Compose([transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    image = to_input(picture.float() / 255)
    resize = transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC, antialias=False)
    tokens, sides = [], []
    for x0, y0, x1, y1 in BOXES:
        crop = resize(image[:, round(y0):round(y1), round(x0):round(x1)])
        sides.append(crop.shape[1:])
        with torch.no_grad():
            tokens.append(torch.nn.functional.normalize(model(crop[None]), dim=1, p=2)[0])
    x = torch.stack(tokens).numpy()
    whitened = vq.whiten(x) / np.linalg.norm(vq.whiten(x), axis=1)[:, None]
    path = os.path.join(OUT, "lost_crops.safetensors")
    save_file({"picture": picture.permute(1, 2, 0).contiguous(), "boxes": torch.tensor(BOXES),
               "sides": torch.tensor(sides), "tokens": torch.from_numpy(x), "whitened": torch.from_numpy(whitened)}, path,
              metadata={"torch": torch.__version__, "torchvision": torchvision.__version__,
                        "scipy": scipy.__version__, "numpy": np.__version__})
    print(os.path.getsize(path), "bytes", sides)


main()

"""Golden steps of the training of FOUND's layer: masks and bilateral solver from the published code, loss and AdamW
from PyTorch.

Usage: make_found_train.py FOUND_FOLDER [OUTPUT.safetensors]; the folder is a checkout of github.com/valeoai/FOUND. Needs
torch, numpy, scipy (< 1.14, whose cg still has `tol`), Pillow, opencv-python and safetensors; no GPU. The features are
those of make_baselines.py: random projections of pictures.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import scipy.ndimage
import torch
from PIL import Image
from safetensors.numpy import save_file

from make_baselines import DIM, HEADS, HERE, PATCH, attention_map, load, patch_features

SIZE = 64
BACKGROUND_STEPS, STEPS, DECAY_EVERY = 4, 8, 3


def main():
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    background = load("found_background", folder / "bkg_seg.py")
    misc = load("misc", folder / "misc.py")

    rng = np.random.default_rng(11)
    images, keys, attentions = [], [], []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        picture = Image.open(HERE.parent / "pictures" / f"{name}.jpg").convert("RGB")
        rgb = np.array(picture.resize((SIZE, SIZE), Image.LANCZOS))
        images.append(rgb)
        # Smoothed over the grid, so that masks hang together and the solver's results are near enough to be kept.
        keys.append(scipy.ndimage.gaussian_filter(patch_features(rgb, rng), (0, 1.5, 1.5)))
        attentions.append(attention_map(SIZE // PATCH, SIZE // PATCH, rng))
    count, grid = len(images), SIZE // PATCH
    features = torch.from_numpy(np.stack(keys))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    data = (pixels, pixels, torch.zeros(count, SIZE, SIZE), [None] * count)

    tokens = torch.zeros(count, 1 + grid * grid, HEADS * DIM)
    tokens[:, 1:] = features.flatten(2).transpose(1, 2)
    rows = torch.zeros(count, HEADS, 1, 1 + grid * grid)
    rows[:, :, 0, 1:] = torch.from_numpy(np.stack(attentions)).flatten(2)

    decoder = torch.nn.Conv2d(HEADS * DIM, 1, 1)
    with torch.no_grad():  # starts near "brighter than the picture's mean", which follows edges
        grey = np.stack(images).mean(3).reshape(count, grid, PATCH, grid, PATCH).mean((2, 4))
        bright = np.where(grey > grey.mean((1, 2), keepdims=True), 1.0, -1.0).reshape(-1)
        rows_of_keys = features.permute(0, 2, 3, 1).reshape(-1, HEADS * DIM).numpy()
        start = np.linalg.lstsq(rows_of_keys, bright, rcond=None)[0]
        decoder.weight.copy_(torch.from_numpy(start.astype(np.float32)).reshape(decoder.weight.shape))
        decoder.bias.fill_(0.05)
    out = {"images": np.stack(images), "keys": features.numpy(), "attention": np.stack(attentions),
           "weight": decoder.weight.detach().numpy().reshape(-1).copy(), "bias": decoder.bias.detach().numpy().copy(),
           "background_steps": np.int64(BACKGROUND_STEPS), "decay_every": np.int64(DECAY_EVERY)}
    criterion = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=5e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=DECAY_EVERY, gamma=0.95)
    losses, weights, biases, fitted, margins = [], [], [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = decoder(features)
        flat = logits.permute(0, 2, 3, 1).reshape(-1, 1)
        own = (torch.sigmoid(logits.detach()) > 0.5).float()
        refined, used = misc.batch_apply_bilateral_solver(data, own)
        first = 1.5 * criterion(flat, refined.reshape(-1).float()[:, None])
        if step < BACKGROUND_STEPS:
            seen = background.compute_img_bkg_seg(rows, tokens, (grid, grid), 0.3, dim=DIM)
            objects, used_too = misc.batch_apply_bilateral_solver(data, (~seen.bool()).float(), True)
            second = criterion(flat, objects.reshape(-1).float()[:, None])
        else:
            used_too = 0
            second = 4.0 * criterion(flat, own.reshape(-1)[:, None])
        (first + second).backward()
        optimizer.step()
        scheduler.step()
        losses.append([float(first + second), float(first), float(second)])
        weights.append(decoder.weight.detach().numpy().reshape(-1).copy())
        biases.append(float(decoder.bias))
        fitted.append(refined.numpy().astype(np.uint8))
        margins.append(float(logits.abs().min()))
        print(f"step {step}: {losses[-1]}, solver kept {used} and {used_too} of {count}, margin {margins[-1]:.1e}")
    out.update(losses=np.array(losses), weights=np.stack(weights), biases=np.array(biases), fitted=np.stack(fitted))
    taps, sigma = 7, 1.3
    out.update({"blur.taps": np.int64(taps), "blur.sigma": np.float64(sigma),
                "blur.image": cv2.GaussianBlur(images[0], (taps, taps), sigma)})

    output = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "found_train.safetensors"
    versions = {p: version(p) for p in ("torch", "numpy", "scipy", "pillow", "opencv-python-headless")}
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, output, metadata=versions)
    output.chmod(0o644)
    print(output, output.stat().st_size, "bytes", versions)


if __name__ == "__main__":
    main()

"""Golden cases of MaskCut before its CRF: given features, the masks of the reference code and of a plain restatement.

Usage: make_maskcut.py CUTLER TOKENCUT [OUTPUT.safetensors]
  CUTLER    a checkout of github.com/facebookresearch/CutLER (its maskcut/maskcut.py is run)
  TOKENCUT  the folder that holds TokenCut/, a checkout of github.com/YangtaoWANG95/TokenCut
Needs numpy, scipy, torch, torchvision, Pillow, pycocotools, safetensors. Pictures come from tests/pictures.

The reference inherits an arbitrary sign from LAPACK. Here every eigenvector gets the canonical one before the
reference's own rules see it: the element of largest magnitude is positive, and elements within 1e-9 of the extremes
count as equal to them. `release` masks are the reference's. `paper` masks are those of paper_masks() below.
Cases in which rounding decides (a cosine at tau, an element at the mean, eigenvalues that nearly meet) are left out.
"""

import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401 - the reference imports it; it must come before the stand-ins of load_reference()
from PIL import Image
from safetensors.numpy import save_file
from scipy import linalg, ndimage

HERE = Path(__file__).resolve().parent
TAU, EPS, STAGES = 0.15, 1e-5, 3


class Unstable(Exception):
    """Rounding decides the outcome."""


def load_reference(cutler, tokencut):
    for name in ("dino", "crf", "tqdm"):  # imported by the reference, not needed for cuts
        module = types.ModuleType(name)
        module.densecrf = module.tqdm = None
        sys.modules[name] = module
    sys.path[:0] = [str(Path(cutler) / "maskcut"), str(tokencut)]
    import maskcut

    return maskcut


def canonical(x):
    """Canonical sign, and ties at both extremes made exact."""
    top = np.abs(x).max()
    peak = np.flatnonzero(np.abs(x) >= top * (1 - 1e-9))[0]
    x = x * np.sign(x[peak])
    x[x >= x.max() - 1e-9 * top] = x.max()
    x[x <= x.min() + 1e-9 * top] = x.min()
    return x


def second_vector(affinity, degrees):
    """The reference's dense solve, refused when the vector is not determined well."""
    values, vectors = linalg.eigh(degrees - affinity, degrees, subset_by_index=[1, min(2, len(affinity) - 1)])
    if len(values) > 1 and values[1] - values[0] < 1e-7:
        raise Unstable("eigenvalues meet")
    x = canonical(vectors[:, 0].copy())
    if np.abs(x - x.mean()).min() < 1e-9 * np.abs(x).max():
        raise Unstable("an element lies at the mean")
    return x


def cosines(features):
    unit = torch.nn.functional.normalize(features, p=2, dim=0)
    cos = (unit.T @ unit).numpy()
    if np.abs(cos - TAU).min() < 2e-6:
        raise Unstable("a cosine lies at tau")
    return cos


def label_object(foreground, seed, dims):
    labels = ndimage.label(foreground.reshape(dims))[0].ravel()
    return (labels == labels[seed]).reshape(dims)


def iou(a, b):
    union = np.logical_or(a, b).sum()
    return np.logical_and(a, b).sum() / union if union else float("nan")


def paper_masks(features, dims, size, events):
    """Masks of the paper's rules: any map shape; a rejected object stays rejected; nothing is painted out for it."""
    features = features.clone()
    covered = np.zeros(size, bool)
    masks, previous = [], np.zeros(dims, bool)
    for stage in range(STAGES):
        weights = np.where(cosines(features) >= np.float32(TAU), 1.0, EPS)
        x = second_vector(weights, np.diag(weights.sum(1)))
        foreground = x >= x.mean()
        grid = foreground.reshape(dims)
        corners = int(grid[0, 0]) + int(grid[0, -1]) + int(grid[-1, 0]) + int(grid[-1, -1])
        peak = np.argmax(np.abs(x))
        if corners >= 2 or not foreground[peak]:
            events.add(f"paper complement at {corners} corners")
            foreground, x = ~foreground, -x
        found = label_object(foreground, np.argmax(x), dims)
        if stage and iou(previous, found) > 0.5:
            events.add("paper overlap")
            break
        if stage and found.sum() / dims[0] / dims[1] <= 0.01:
            events.add("paper small")
            break
        previous = found
        features[:, torch.from_numpy(found.ravel())] = 0
        up = torch.nn.functional.interpolate(torch.from_numpy(found[None, None].astype(np.float64)), size=size)
        up = up[0, 0].numpy() > 0
        masks.append(up & ~covered)
        covered |= up
    if len(masks) == STAGES:
        events.add("paper three masks")
    masks += [np.zeros(size, bool)] * (STAGES - len(masks))
    return np.stack(masks)


def release_masks(reference, features, dims, size, events):
    cosines(features)
    painted = []

    def check_painted(original):
        def wrapped(painting, feats, mask, ps):
            feats, painting = original(painting, feats, mask, ps)
            cosines_of_rest = feats[:, feats.abs().sum(0) > 0]
            if cosines_of_rest.shape[1]:
                cosines(cosines_of_rest)
            painted.append(float(mask.sum()))
            return feats, painting

        return wrapped

    original = reference.get_masked_affinity_matrix
    reference.second_smallest_eigenvector = lambda a, d: (lambda x: (x.copy(), x))(second_vector(a, d))
    reference.get_masked_affinity_matrix = check_painted(original)
    try:
        _, masks, _ = reference.maskcut_forward(features, list(dims), [8, 8], list(size), TAU, N=STAGES, cpu=True)
    finally:
        reference.get_masked_affinity_matrix = original
    if len(painted) == 2 and painted[1] == 0:
        events.add("release rejected, then accepted" if masks[2].any() else "release rejected, then nothing left")
    return np.stack(masks) > 0


def picture_features(path, dims, depth, seed):
    """Random convolutions of a picture: local colour and texture, with no training behind them. [depth, h * w]"""
    generator = torch.Generator().manual_seed(seed)
    opened = Image.open(path).convert("RGB")
    rgb = np.array(opened.resize((dims[1] * 8, dims[0] * 8), Image.LANCZOS))
    x = torch.from_numpy(rgb).float().permute(2, 0, 1)[None] / 128 - 1
    x = torch.relu(torch.nn.functional.conv2d(x, torch.randn(32, 3, 9, 9, generator=generator) / 15, padding=4))
    x = torch.nn.functional.avg_pool2d(x, 2)
    x = torch.nn.functional.conv2d(x, torch.randn(depth, 32, 9, 9, generator=generator) / 50, padding=4)
    x = torch.nn.functional.avg_pool2d(x, 4)[0]
    x = x - x.mean((1, 2), keepdim=True)
    return x.reshape(depth, -1)


def picture(name):
    return HERE.parent / "pictures" / f"{name}.jpg"


def random_features(dims, depth, blur, seed):
    random = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(random.standard_normal((depth, *dims)), (0, blur, blur))
    fields += 0.1 * fields.std() * random.standard_normal(fields.shape)
    return torch.from_numpy(fields.reshape(depth, -1).astype(np.float32))


def half(features):
    """Rounded to f16, so that the file is half as large. Both sides see the rounded values."""
    return features.half().float()


def main():
    reference = load_reference(sys.argv[1], sys.argv[2])
    tensors, kept = {}, {}

    def add(name, features, dims, size, needed=None):
        """Adds a case unless it is unstable or has none of the `needed` events."""
        events = set()
        try:
            paper = paper_masks(features, dims, size, events)
            square = dims[0] == dims[1]
            release = release_masks(reference, features, dims, size, events) if square else None
        except Unstable as reason:
            print(f"{name}: left out, {reason}")
            return False
        if needed is not None and not events & needed:
            return False
        for event in events:
            kept[event] = kept.get(event, 0) + 1
        tensors[f"{name}.features"] = features.half().numpy().reshape(-1, *dims)
        tensors[f"{name}.paper"] = paper.astype(np.uint8)
        if release is not None:
            tensors[f"{name}.release"] = release.astype(np.uint8)
        print(f"{name}: {sorted(events)}")
        return True

    for i, name in enumerate(["astronaut", "chelsea", "coffee", "camera", "raccoon", "rocket"]):
        side = [16, 18, 20, 24, 26, 28][i]
        size = side * 2 + [0, 5, 3, 0, 7, 1][i]  # also frames that are no multiple of the grid
        for seed in range(200):
            features = half(picture_features(picture(name), (side, side), 16, seed))
            if add(name, features, (side, side), (size, size), {"paper three masks"}):
                break
    for i, (name, dims) in enumerate([("astronaut_wide", (14, 22)), ("coffee_tall", (25, 13))]):
        for seed in range(200):
            features = half(picture_features(picture(name.split("_")[0]), dims, 16, seed))
            if add(name, features, dims, (60, 45), {"paper three masks"}):
                break
    # Every quirk and every branch a few times.
    wanted = ["release rejected, then accepted", "release rejected, then nothing left", "paper overlap", "paper small",
              "paper complement at 2 corners", "paper complement at 3 corners", "paper complement at 4 corners"]
    for seed in range(3000):
        missing = {event for event in wanted if kept.get(event, 0) < 3}
        if not missing:
            break
        side = 6 + seed % 9
        features = half(random_features((side, side), 3 + seed % 5, 0.6 + 0.4 * (seed % 4), seed))
        add(f"random{seed}", features, (side, side), (2 * side, 2 * side), missing)
    print(kept)
    assert all(kept.get(event, 0) >= 3 for event in wanted), "an event is missing"
    output = sys.argv[3] if len(sys.argv) > 3 else HERE / "maskcut.safetensors"
    packages = ("numpy", "scipy", "torch", "Pillow")
    save_file(tensors, output, metadata={package: version(package) for package in packages})


if __name__ == "__main__":
    main()

"""`usol discover` beside the published code of each method: boxes and masks on real pictures, from the same features.

Usage: compare_discover.py USOL DINO_FOLDER LOST_FOLDER TOKENCUT_FOLDER FOUND_FOLDER PICTURE... [--patch 16] [--weights W]
The folders are checkouts of github.com/facebookresearch/dino, valeoai/LOST, YangtaoWANG95/TokenCut and valeoai/FOUND.
Needs torch, numpy, scipy (< 1.14), Pillow, opencv-python, scikit-image and safetensors; no GPU.

Without --weights, a ViT-S with random weights is made by DINO's code: its features are no worse for a comparison. They
are computed by PyTorch and written to files, which usol reads (--from-features); then once more by usol itself from the
same weights. Printed are the IoU of boxes and masks with the reference's, picture by picture, and the largest
difference of the soft maps.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def box_iou(a, b):
    """Boxes x0 y0 x1 y1."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def mask_iou(a, b):
    return (a & b).sum() / (a | b).sum()


def decode(rle):
    """COCO's compressed run lengths to a mask."""
    counts, numbers, i, text = [], 0, 0, rle["counts"]
    while i < len(text):
        value, shift, more = 0, 0, True
        while more:
            c = ord(text[i]) - 48
            i += 1
            value |= (c & 31) << shift
            shift += 5
            more = bool(c & 32)
            if not more and c & 16:
                value |= -1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    h, w = rle["size"]
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(w, h).T


class Reference:
    """DINO's network and the four repositories' functions."""

    def __init__(self, args):
        datasets = types.ModuleType("datasets")
        datasets.bbox_iou = None
        sys.modules["datasets"] = datasets
        torch.Tensor.cuda = lambda self, *a, **k: self
        to = torch.Tensor.to
        torch.Tensor.to = lambda self, *a, **k: self if a and a[0] == "cuda" else to(self, *a, **k)
        argsort = torch.argsort  # ties of LOST's degrees in their order
        torch.argsort = lambda x, dim=-1, descending=False: argsort(x, dim=dim, descending=descending, stable=True)
        self.lost = load("lost_reference", Path(args.lost) / "object_discovery.py")
        self.tokencut = load("tokencut_reference", Path(args.tokencut) / "object_discovery.py")
        saliency = Path(args.tokencut) / "unsupervised_saliency_detection"
        self.saliency = load("tokencut_saliency", saliency / "object_discovery.py")
        self.solver = load("tokencut_solver", saliency / "bilateral_solver.py")
        sys.path.insert(0, args.found)
        self.misc = load("misc", Path(args.found) / "misc.py")
        sys.path.insert(0, args.dino)
        import vision_transformer as vits

        torch.manual_seed(3)
        self.model = vits.vit_small(patch_size=args.patch, num_classes=0).eval()
        if args.weights:
            self.model.load_state_dict(torch.load(args.weights, map_location="cpu"))
        else:  # larger than the usual start, so that attention is not flat
            with torch.no_grad():
                for name, p in self.model.named_parameters():
                    if p.ndim == 2 and "blocks" in name:
                        p.mul_(3)
        self.patch = args.patch
        self.kept = {}
        qkv = self.model.blocks[-1].attn.qkv
        qkv.register_forward_hook(lambda m, i, o: self.kept.update(qkv=o))
        if not args.weights:  # keys without what they have in common: as they start, all patches are alike
            means = [self.maps(np.array(Image.open(p).convert("RGB")), True)[0][0, 1:].mean(0) for p in args.pictures]
            with torch.no_grad():
                width = qkv.in_features
                qkv.bias[width : 2 * width] -= torch.stack(means).mean(0)

    @torch.no_grad()
    def maps(self, rgb, pad):
        """k [1, 1 + h w, D], attention [1, heads, L, L] and the grid of a picture u8 [H, W, 3]."""
        x = (torch.from_numpy(rgb.copy()).float() / 255 - MEAN) / STD
        x = x.permute(2, 0, 1)
        if pad:
            h, w = (-(-s // self.patch) * self.patch for s in rgb.shape[:2])
            whole = torch.zeros(3, h, w)
            whole[:, : rgb.shape[0], : rgb.shape[1]] = x
            x = whole
        attention = self.model.get_last_selfattention(x[None])
        heads, tokens = attention.shape[1:3]
        k = self.kept["qkv"].reshape(1, tokens, 3, heads, -1)[:, :, 1].reshape(1, tokens, -1)
        return k, attention, (x.shape[1] // self.patch, x.shape[2] // self.patch)

    @staticmethod
    def save(path, k, attention, grid):
        heads = attention.shape[1]
        save_file({"features": k[0, 1:].T.reshape(-1, *grid).contiguous(),
                   "attention": attention[0, :, 0, 1:].reshape(heads, *grid).contiguous()}, path)

    def boxes(self, method, k, attention, grid, size, head):
        scales, shape = [self.patch, self.patch], (3, *size)
        if method == "lost":
            return [self.lost.lost(k[:, 1:], list(grid), scales, shape)[0]]
        if method == "dino-seg":
            return [self.lost.dino_seg(attention, grid, self.patch, head=4)]
        if method == "found":
            features = k[0, 1:].T.reshape(1, -1, *grid)
            logits = F.conv2d(features, head["weight"], head["bias"])
            mask = (torch.sigmoid(logits) > 0.5).float().squeeze().numpy()
            return [self.misc.get_bbox_from_segmentation_labels(mask, size, scales)] if mask.any() else []
        if method == "tokencut":
            return [self.tokencut.ncut(k, list(grid), scales, shape, tau=0.2)[0]]
        # Three eigenvectors: TokenCut's rule on each.
        unit = F.normalize(k[0, 1:], p=2)
        similarity = np.where((unit @ unit.T).numpy() > 0.2, 1.0, 1e-5)
        degree = np.diag(similarity.sum(1))
        boxes = []
        for x in scipy.linalg.eigh(degree - similarity, degree, subset_by_index=[1, 3])[1].T:
            side, seed = x > x.mean(), np.argmax(np.abs(x))
            side = side if side[seed] else ~side
            boxes.append(self.tokencut.detect_box(side.reshape(grid).astype(float), seed, list(grid), scales=scales,
                                                  initial_im_size=size)[0])
        return boxes

    def soft(self, method, path, k, grid, size, head):
        if method == "found":
            logits = F.conv2d(k[0, 1:].T.reshape(1, -1, *grid), head["weight"], head["bias"])
            large = F.interpolate(logits, scale_factor=self.patch, mode="bilinear", align_corners=False)
            soft = torch.sigmoid(large)[0, 0, : size[0], : size[1]].numpy()
            return soft, soft > 0.5
        # The second picture function takes the features without CLS, [D, n].
        _, mask, _ = self.saliency.ncut(k[0, 1:].T, list(grid), [self.patch] * 2, list(size), 0.2)
        soft, binary = self.solver.bilateral_solver_output(path, mask, sigma_spatial=16, sigma_luma=16, sigma_chroma=8)
        return soft, binary.astype(bool)


def usol(args, method, folder, files, extra):
    out = folder / "out.json"
    command = [args.usol, "discover", *files, "--method", method, "--preset", "release", "--out", out, "--force", "-q",
               "--patch", args.patch, *extra]
    subprocess.run([str(c) for c in command], check=True)
    document = json.loads(out.read_text())
    found = {image["id"]: [] for image in document["images"]}
    for a in document["annotations"]:
        found[a["image_id"]].append(a)
    return [found[image["id"]] for image in document["images"]]


def main():
    parser = argparse.ArgumentParser()
    for name in ("usol", "dino", "lost", "tokencut", "found"):
        parser.add_argument(name)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--weights")
    args = parser.parse_args()
    reference = Reference(args)
    head_path = Path(args.found) / "data/weights/decoder_weights.pt"
    head = torch.load(head_path, map_location="cpu")["decoder"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(reference.model.state_dict(), folder / "weights.pth")
        files, maps, nearest = [], [], []
        for kind in ("in", "padded", "nearest"):
            (folder / kind).mkdir()
        for i, picture in enumerate(args.pictures):
            # PNG, so that JPEG decoders play no part; names in natural order.
            path = folder / "in" / f"{i}.png"
            image = Image.open(picture).convert("RGB")
            image.save(path)
            files.append(path)
            rgb = np.array(image)
            maps.append((*reference.maps(rgb, True), rgb.shape[:2]))
            reference.save(folder / "padded" / f"{i}.safetensors", *maps[-1][:3])
            w, h = (max(1, round(s / args.patch)) * args.patch for s in image.size)
            nearest.append((*reference.maps(np.array(image.resize((w, h), Image.LANCZOS)), False), rgb.shape[:2]))
            reference.save(folder / "nearest" / f"{i}.safetensors", *nearest[-1][:3])
        sources = {"same features": ["--from-features", folder / "padded"], "own features": ["--weights", folder / "weights.pth"]}
        for source, options in sources.items():
            for method in ("tokencut", "tokencut-3ev", "lost", "dino-seg", "found"):
                extra = ["--found-weights", head_path] if method == "found" else []
                ours = usol(args, method, folder, files, [*options, *extra])
                ious, shares = [], []
                for objects, (k, attention, grid, size) in zip(ours, maps):
                    theirs = reference.boxes(method, k, attention, grid, size, head)
                    shares += [(b[2] - b[0]) * (b[3] - b[1]) / (size[0] * size[1]) for b in theirs[:1]]
                    mine = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in objects)]
                    ious.append("/".join(f"{box_iou(a, b):.4g}" for a, b in zip(mine, theirs)) if len(mine) == len(theirs)
                                else f"{len(mine)} for {len(theirs)} objects")
                print(f"{source}: {method}: box IoU {' '.join(ious)}; the boxes' share of the pictures "
                      f"{' '.join(f'{s:.2f}' for s in shares)}", flush=True)
            for method in ("tokencut", "found"):
                extra = ["--task", "saliency", "--maps", folder / "maps"]
                if method == "found":
                    extra += ["--found-weights", head_path]
                used = options if method == "found" or source == "own features" else ["--from-features", folder / "nearest"]
                ours = usol(args, method, folder, files, [*used, *extra])
                report = []
                for i, (objects, k) in enumerate(zip(ours, nearest if method == "tokencut" else maps)):
                    soft, binary = reference.soft(method, files[i], k[0], k[2], k[3], head)
                    difference = np.abs(np.load(folder / "maps" / f"{i}.npy") - soft).max()
                    iou = mask_iou(decode(objects[0]["segmentation"]), binary) if objects else float(not binary.any())
                    report.append(f"{iou:.4g} ({difference:.1e})")
                print(f"{source}: {method} saliency: mask IoU (soft difference) {' '.join(report)}", flush=True)


if __name__ == "__main__":
    main()

"""Golden cases of the discovery baselines, made by the published implementations on small maps.

Usage: make_baselines.py LOST_FOLDER TOKENCUT_FOLDER FOUND_FOLDER [OUTPUT.safetensors]; the folders are checkouts of
github.com/valeoai/LOST, github.com/YangtaoWANG95/TokenCut and github.com/valeoai/FOUND. Needs torch, numpy, scipy
(< 1.14, whose cg still has `tol`), Pillow, opencv-python, scikit-image and safetensors; no GPU.

The features are random projections of the bundled pictures' patches, so maps have real shapes; the attention is random
and smooth. LOST leaves patches of equal degree open (torch.argsort is not stable); here it is made to take them in
order.
"""

import importlib.util
import sys
import tempfile
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
PATCH = 8
HEADS, DIM = 6, 4


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def patch_features(rgb, rng):
    """[D, h, w] keys: a random projection of each zero-padded patch, less its mean over the picture."""
    height, width, _ = rgb.shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    padded = np.zeros((rows * PATCH, columns * PATCH, 3))
    padded[:height, :width] = rgb / 255 - 0.45
    patches = padded.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    keys = patches @ rng.standard_normal((patches.shape[1], HEADS * DIM)) / 8
    keys = keys - keys.mean(0) + 0.05 * rng.standard_normal(keys.shape)
    return keys.T.reshape(-1, rows, columns).astype(np.float32)


def attention_map(rows, columns, rng):
    """[heads, h, w]: a softmax of a smooth random field per head; the class token keeps the rest of the mass."""
    field = scipy.ndimage.gaussian_filter(rng.standard_normal((HEADS, rows, columns)), (0, 1.5, 1.5))
    field = field / field.std((1, 2), keepdims=True) * np.linspace(0.5, 2.5, HEADS)[:, None, None]
    e = np.exp(field)
    return (0.9 * e / e.sum((1, 2), keepdims=True)).astype(np.float32)


def main():
    # What the references import and this script does not need.
    datasets = types.ModuleType("datasets")
    datasets.bbox_iou = None
    sys.modules["datasets"] = datasets
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    argsort = torch.argsort
    torch.argsort = lambda x, dim=-1, descending=False: argsort(x, dim=dim, descending=descending, stable=True)

    lost = load("lost_reference", Path(sys.argv[1]) / "object_discovery.py")
    tokencut = load("tokencut_reference", Path(sys.argv[2]) / "object_discovery.py")
    solver = load("tokencut_solver", Path(sys.argv[2]) / "unsupervised_saliency_detection" / "bilateral_solver.py")
    found_folder = Path(sys.argv[3])
    sys.path.insert(0, str(found_folder))
    background = load("found_reference", found_folder / "bkg_seg.py")
    misc = load("misc", found_folder / "misc.py")

    rng = np.random.default_rng(5)
    tensors = {}
    for name, height, width in [("astronaut", 128, 128), ("chelsea", 96, 141), ("coffee", 117, 160), ("rocket", 150, 100)]:
        picture = Image.open(HERE.parent / "pictures" / f"{name}.jpg").convert("RGB")
        rgb = np.array(picture.resize((width, height), Image.LANCZOS))
        keys = patch_features(rgb, rng)
        rows, columns = keys.shape[1:]
        attention = attention_map(rows, columns, rng)
        put = lambda key, value: tensors.__setitem__(f"{name}.{key}", np.ascontiguousarray(value))
        put("image", rgb)
        put("keys", keys)
        put("attention", attention)
        tokens = torch.from_numpy(keys.reshape(HEADS * DIM, -1).T.copy())[None]
        with_cls = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)
        size = (3, height, width)
        scales = [PATCH, PATCH]

        box, _, _, seed = lost.lost(tokens, [rows, columns], scales, size)
        put("lost.box", box.astype(np.int64))
        put("lost.seed", np.int64(seed))

        box, _, mask, seed, _, _ = tokencut.ncut(with_cls, [rows, columns], scales, size, tau=0.2)
        put("tokencut.box", box.astype(np.int64))
        put("tokencut.mask", mask.astype(np.uint8))
        put("tokencut.seed", np.int64(seed))
        if name in ("astronaut", "chelsea"):
            whole = F.interpolate(torch.from_numpy(mask)[None, None], size=(height, width), mode="nearest").squeeze().numpy()
            with tempfile.TemporaryDirectory() as folder:
                Image.fromarray(rgb).save(Path(folder) / "picture.png")
                soft, binary = solver.bilateral_solver_output(Path(folder) / "picture.png", whole, sigma_spatial=16,
                                                              sigma_luma=16, sigma_chroma=8)
            put("tokencut.soft", soft.astype(np.float32)[::4])  # every fourth row
            put("tokencut.saliency", binary.astype(np.uint8))
        # Three eigenvectors: the same rule on each.
        unit = F.normalize(tokens[0], p=2)
        similarity = np.where((unit @ unit.T).numpy() > 0.2, 1.0, 1e-5)
        degree = np.diag(similarity.sum(1))
        values, vectors = scipy.linalg.eigh(degree - similarity, degree, subset_by_index=[1, 3])
        boxes, masks = [], []
        for x in vectors.T:
            side, seed = x > x.mean(), np.argmax(np.abs(x))
            side = side if side[seed] else ~side
            box, _, objects, at = tokencut.detect_box(side.reshape(rows, columns).astype(float), seed, [rows, columns],
                                                      scales=scales, initial_im_size=size[1:])
            boxes.append(box)
            masks.append((objects == objects[np.unravel_index(seed, (rows, columns))]).astype(np.uint8))
        put("tokencut3.box", np.array(boxes, np.int64))
        put("tokencut3.mask", np.stack(masks))

        cls_row = torch.zeros(1, HEADS, 1, 1 + rows * columns)
        cls_row[0, :, 0, 1:] = torch.from_numpy(attention.reshape(HEADS, -1))
        boxes = [lost.dino_seg(cls_row, (rows, columns), PATCH, head=head) for head in range(HEADS)]
        put("dino_seg.box", np.array(boxes, np.int64))

        seen = background.compute_img_bkg_seg(cls_row, with_cls, (rows, columns), 0.3, dim=DIM)
        put("found.background", seen[0].numpy().astype(np.uint8))
        weight = rng.standard_normal((1, HEADS * DIM, 1, 1)).astype(np.float32) * 0.5
        bias = np.float32(rng.standard_normal() * 0.1)
        logits = F.conv2d(torch.from_numpy(keys)[None], torch.from_numpy(weight), torch.tensor([bias]))
        put("found.weight", weight.reshape(-1))
        put("found.bias", bias)
        put("found.logits", logits[0, 0].numpy())
        predicted = (torch.sigmoid(logits) > 0.5).float().squeeze().numpy()
        put("found.box", misc.get_bbox_from_segmentation_labels(predicted, size[1:], scales).astype(np.int64))
        if name in ("astronaut", "chelsea"):
            large = F.interpolate(logits, scale_factor=PATCH, mode="bilinear", align_corners=False)[..., :height, :width]
            put("found.soft", torch.sigmoid(large)[0, 0].numpy()[::4])
            saliency = (torch.sigmoid(large)[0, 0] > 0.5).float().numpy()
            shape = np.zeros((height, width), np.float32)
            shape[height // 8 : -(height // 6), width // 4 : -(width // 4)] = 1
            image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
            for kind, mask in (("ragged", saliency), ("shape", shape)):
                put(f"refine_{kind}.mask", mask.astype(np.uint8))
                for key, every in (("all", True), ("single", False)):
                    _, refined, used = misc.apply_bilateral_solver(mask, image, None, None, get_all_cc=every)
                    put(f"refine_{kind}.{key}", refined.astype(np.uint8))
                    print(name, kind, key, "solver used" if used else "mask kept", end="; ")
        print("boxes:", *(tensors[f"{name}.{m}.box"].tolist() for m in ("lost", "tokencut", "found")))

    versions = {p: version(p) for p in ("torch", "numpy", "scipy", "pillow", "opencv-python-headless")}
    output = Path(sys.argv[4]) if len(sys.argv) > 4 else HERE / "baselines.safetensors"
    save_file(tensors, output, metadata=versions)
    output.chmod(0o644)
    print(output, versions)


if __name__ == "__main__":
    main()

"""Golden cases of maskcut/border_contrast.h: the maps of Zhang et al. 2015 and Zhu et al. 2014, by numpy and scipy.

Usage: make_border_contrast.py [OUTPUT.safetensors]; needs numpy, scipy and safetensors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy import ndimage
from scipy.sparse.csgraph import csgraph_from_dense, shortest_path

HERE = Path(__file__).resolve().parent


def stretch(values):
    values = values - values.min()
    return values / values.max() if values.max() > 0 else values


def barrier_distance(planes):
    """Algorithm 1 of Zhang et al., three passes, summed over the planes."""
    total = np.zeros(planes.shape[1:])
    for plane in planes:
        height, width = plane.shape
        low, high = plane.copy(), plane.copy()
        distance = np.full(plane.shape, np.inf)
        distance[[0, -1]] = 0
        distance[:, [0, -1]] = 0
        for step in range(3):
            back = step % 2
            for y in range(height)[:: -1 if back else 1]:
                for x in range(width)[:: -1 if back else 1]:
                    for ny, nx in ((y + 1, x), (y, x + 1)) if back else ((y - 1, x), (y, x - 1)):
                        if not (0 <= ny < height and 0 <= nx < width):
                            continue
                        h, l = max(high[ny, nx], plane[y, x]), min(low[ny, nx], plane[y, x])
                        if h - l < distance[y, x]:
                            distance[y, x], high[y, x], low[y, x] = h - l, h, l
        total += distance
    return stretch(total)


def border_distance(planes):
    channels, height, width = planes.shape
    band = int(0.1 * max(height, width) + 0.5)
    regular = 0.01 * planes.reshape(channels, -1).var(axis=1).mean() * np.eye(channels)
    sides = []
    for side in (planes[:, :band], planes[:, -band:], planes[:, :, :band], planes[:, :, -band:]):
        side = side.reshape(channels, -1)
        inverse = np.linalg.inv(np.cov(side, bias=True) + regular)
        away = planes - side.mean(axis=1)[:, None, None]
        distance = np.sqrt(np.einsum("cyx,cd,dyx->yx", away, inverse, away))
        sides.append(distance / distance.max())
    return stretch(np.sum(sides, axis=0) - np.max(sides, axis=0))


def background_contrast(planes):
    """Zhu et al. with cells in the place of superpixels."""
    _, height, width = planes.shape
    rows, columns = int(height / 4 + 0.5), int(width / 4 + 0.5)
    cell = (np.arange(height) * rows // height)[:, None] * columns + np.arange(width) * columns // width
    n = rows * columns
    colour = np.stack([ndimage.mean(plane, cell, np.arange(n)) for plane in planes], axis=1)
    y, x = np.divmod(np.arange(n), columns)
    border = (y == 0) | (y == rows - 1) | (x == 0) | (x == columns - 1)
    steps = np.maximum(abs(y[:, None] - y), abs(x[:, None] - x))
    contrast = np.linalg.norm(colour[:, None] - colour, axis=2)
    apart = np.hypot(y[:, None] - y, x[:, None] - x) / max(rows, columns)
    linked = border[:, None] & border
    length = np.maximum(contrast - np.where(steps == 1, contrast, np.inf).min(axis=1).mean(), 0)
    edges = np.where(((steps == 1) | linked) & (steps > 0), length, np.inf)
    geodesic = shortest_path(csgraph_from_dense(edges, null_value=np.inf), method="D")
    belongs = np.exp(-(geodesic**2) / (2 * 7**2))
    connectivity = belongs[:, border].sum(axis=1) / np.sqrt(belongs.sum(axis=1))
    background = 1 - np.exp(-(connectivity**2) / 2)
    foreground = stretch((contrast * np.exp(-(apart**2) / (2 * 0.4**2)) * background).sum(axis=1))
    weights = np.where(((steps <= 2) | linked) & (steps > 0), np.exp(-(length**2) / (2 * 7**2)) + 0.1, 0)
    system = np.diag(weights.sum(axis=1) + background + foreground) - weights
    return stretch(np.linalg.solve(system, foreground))[cell]


def lab_of(rgb):
    """CIE L*a*b* of sRGB, white point D65."""
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    xyz = linear @ np.transpose(matrix) / [0.95047, 1, 1.08883]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def border_contrast(rgb):
    """rgb: 100 pixels on the longer side."""
    planes = ndimage.uniform_filter(lab_of(rgb), (1, 5, 5), mode="nearest")
    return stretch(background_contrast(planes) + barrier_distance(planes) + border_distance(planes))


def otsu_threshold(values):
    """The centre of the bin of 256 after which both classes differ most."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    between = []
    for k in range(1, 256):
        below, above = counts[:k].sum(), counts[k:].sum()
        difference = (counts[:k] * centres[:k]).sum() / below - (counts[k:] * centres[k:]).sum() / above
        between.append(below * above * difference**2)
    return centres[int(np.argmax(between))]


def scene(random, height, width):
    """A soft background, an object inside, one that touches the lower border, and noise: u8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([90 + 60 * y / height, 120 + 40 * x / width, np.full(y.shape, 140.0)], axis=-1)
    picture[((y - 0.4 * height) / (0.2 * height)) ** 2 + ((x - 0.45 * width) / (0.15 * width)) ** 2 < 1] = (200, 60, 50)
    picture[(y > 0.7 * height) & (x > 0.75 * width) & (x < 0.9 * width)] = (40, 50, 90)
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def main():
    random = np.random.default_rng(0)
    tensors = {}
    small = ndimage.gaussian_filter(lab_of(scene(random, 24, 34)), (0, 1, 1))
    tensors["planes"] = small
    tensors["barrier"] = barrier_distance(small)
    tensors["border"] = border_distance(small)
    tensors["background"] = background_contrast(small)
    tensors["picture"] = scene(random, 36, 100)
    contrast = border_contrast(tensors["picture"])
    tensors["contrast"] = contrast.astype(np.float32)
    tensors["threshold"] = np.array([otsu_threshold(tensors["background"])])
    output = sys.argv[1] if len(sys.argv) > 1 else HERE / "border_contrast.safetensors"
    names = ("numpy", "scipy", "safetensors")
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, output, metadata={n: version(n) for n in names})


if __name__ == "__main__":
    main()

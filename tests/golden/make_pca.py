#!/usr/bin/env python3
"""Writes pca.safetensors: principal components of made-up patch features by scikit-learn.

usage: make_pca.py OUTPUT_FOLDER
Two pictures "a" [6, 3, 4] and "b" [6, 2, 5] (f32) of correlated numbers far from zero; "mean" [6], "components" [3, 6],
"deviations" [3] and each picture's whitened scores "scores.a", "scores.b" [3, h, w], all f64, of the PCA of both.
"""
import sys
from pathlib import Path

import numpy as np
import sklearn
from safetensors.numpy import save_file
from sklearn.decomposition import PCA


def main(folder):
    random = np.random.default_rng(3)
    mix = random.normal(size=(6, 6)) * [5, 3, 2, 1, 0.5, 0.2]
    made = {}
    for name, shape in (("a", (3, 4)), ("b", (2, 5))):
        patches = random.normal(size=(shape[0] * shape[1], 6)) @ mix.T + 100 + random.normal(size=6)
        made[name] = np.ascontiguousarray(patches.T.reshape(6, *shape), dtype=np.float32)
    rows = {name: f.reshape(6, -1).T.astype(np.float64) for name, f in made.items()}
    pca = PCA(n_components=3, whiten=True, svd_solver="full").fit(np.concatenate(list(rows.values())))
    for name, patches in rows.items():
        made["scores." + name] = np.ascontiguousarray(pca.transform(patches).T.reshape(3, *made[name].shape[1:]))
    made.update(mean=pca.mean_, components=np.ascontiguousarray(pca.components_), deviations=np.sqrt(pca.explained_variance_))
    path = Path(folder) / "pca.safetensors"
    save_file(made, path, metadata={"scikit-learn": sklearn.__version__, "numpy": np.__version__,
                                    "generator": "tests/golden/make_pca.py"})
    print(path, path.stat().st_size, "bytes, scikit-learn", sklearn.__version__)


if __name__ == "__main__":
    main(sys.argv[1])

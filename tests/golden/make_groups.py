#!/usr/bin/env python3
"""Writes groups.safetensors: groups of made-up vectors, and how well labels agree, by scikit-learn and SciPy.

usage: make_groups.py OUTPUT_FOLDER
"rows" f32 [240, 12] in seven loose clumps. Plain k-means from the first centres "kmeans.first" [7, 12], and from
"empty.first", one of which is far from every row: labels, centres, inertia, iterations. "unit.silhouette" [5] f64: the
mean silhouette by cosine of labels "unit.labels" i64 [5, 240], of 2, 3, 5, 7 and 9 groups. "average.<threshold>": labels by
average linkage of cosine distances, cut at the threshold. "cost.<n>" f64 and the pairs "pairs.<n>" i64 [2, k] of least sum.
"true", "found" i64 [60]: labels, and "agreement" f64 [3]: purity, NMI, accuracy after the best assignment.
"""
import sys
from pathlib import Path

import numpy as np
import scipy
import sklearn
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix


def kmeans(rows, first, made, name):
    model = KMeans(len(first), init=first, n_init=1, max_iter=300, tol=1e-4, algorithm="lloyd").fit(rows)
    made[name + ".first"] = first
    made[name + ".labels"] = model.labels_.astype(np.int64)
    made[name + ".centres"] = model.cluster_centers_
    made[name + ".figures"] = np.array([model.inertia_, model.n_iter_], dtype=np.float64)


def main(folder):
    random = np.random.default_rng(7)
    clumps = random.normal(size=(7, 12)) * 1.5
    rows = (clumps[random.integers(0, 7, 240)] + random.normal(size=(240, 12)) + 0.5).astype(np.float32)
    made = {"rows": rows}
    kmeans(rows, rows[random.choice(240, 7, replace=False)].copy(), made, "kmeans")
    far = rows[random.choice(240, 5, replace=False)].copy()
    far[3] += 100
    kmeans(rows, far, made, "empty")

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    labels = [KMeans(k, n_init=1, random_state=k).fit(unit).labels_ for k in (2, 3, 5, 7, 9)]
    made["unit.labels"] = np.stack(labels).astype(np.int64)
    made["unit.silhouette"] = np.array([silhouette_score(unit.astype(np.float64), l, metric="cosine") for l in labels])
    for threshold in ("0.3", "0.6", "0.9"):
        model = AgglomerativeClustering(None, metric="cosine", linkage="average", distance_threshold=float(threshold))
        made["average." + threshold] = model.fit(rows.astype(np.float64)).labels_.astype(np.int64)

    for name, shape in (("square", (9, 9)), ("wide", (6, 11)), ("tall", (11, 6)), ("ties", (8, 8))):
        cost = random.integers(0, 4, shape).astype(np.float64) if name == "ties" else random.normal(size=shape)
        made["cost." + name] = cost
        made["pairs." + name] = np.stack(linear_sum_assignment(cost)).astype(np.int64)

    true = random.integers(0, 5, 60)
    found = np.where(random.random(60) < 0.6, (true * 3 + 1) % 5, random.integers(0, 7, 60))
    table = contingency_matrix(true, found)
    pairs = linear_sum_assignment(-table)
    made["true"], made["found"] = true.astype(np.int64), found.astype(np.int64)
    made["agreement"] = np.array([table.max(axis=0).sum() / 60, normalized_mutual_info_score(true, found), table[pairs].sum() / 60])

    path = Path(folder) / "groups.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in made.items()}, path,
              metadata={"scikit-learn": sklearn.__version__, "scipy": scipy.__version__, "numpy": np.__version__,
                        "generator": "tests/golden/make_groups.py"})
    print(path, path.stat().st_size, "bytes, scikit-learn", sklearn.__version__)
    for k, v in made.items():
        if k.startswith("average"): print(k, v.max() + 1)
    print(made["unit.silhouette"], made["agreement"], made["kmeans.figures"], made["empty.figures"])


if __name__ == "__main__":
    main(sys.argv[1])

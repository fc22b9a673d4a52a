#!/usr/bin/env python3
"""VOC's average precision and LOST's assignment of clusters to classes, by LOST's own functions.

usage: make_voc_eval.py LOST_CHECKOUT OUT_DIR
Runs voc_eval and hungarian_matching of tools/evaluate_unsupervised_detection_voc.py (valeoai/LOST at
fcedbecb644f18358a660ce58c739cc6374feda8) on made-up objects; only what they import of Detectron2 is replaced. Difficult
objects are crowds in the COCO file. Boxes are whole pixels, as VOC's are.
"""
import ast
import json
import os
import sys
import tempfile

import numpy as np
import scipy
from scipy.optimize import linear_sum_assignment

LOST, OUT = sys.argv[1:3]
CLASSES, CLUSTERS, IMAGES = 3, 4, 16


def functions():
    path = os.path.join(LOST, "tools", "evaluate_unsupervised_detection_voc.py")
    tree = ast.parse(open(path).read())
    wanted = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    for node in wanted:
        node.decorator_list = []

    class Opener:
        open = staticmethod(open)
    space = {"np": np, "PathManager": Opener, "linear_sum_assignment": linear_sum_assignment,
             "ET": __import__("xml.etree.ElementTree").etree.ElementTree}
    exec(compile(ast.Module(wanted, []), path, "exec"), space)
    return space


def main():
    lost, rng = functions(), np.random.default_rng(3)
    truth, found = [], []
    for image in range(1, IMAGES + 1):
        for _ in range(rng.integers(1, 5)):
            x, y = (int(v) for v in rng.integers(0, 60, 2))
            w, h = (int(v) for v in rng.integers(8, 40, 2))
            category = int(rng.integers(0, CLASSES))
            truth.append(dict(id=len(truth) + 1, image_id=image, category_id=category, bbox=[x, y, w, h], area=w * h,
                              iscrowd=int(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 4)):
                dx, dy, dw, dh = (int(v) for v in rng.integers(-5, 6, 4))
                cluster = (category + 1) % CLUSTERS if rng.random() < 0.7 else int(rng.integers(0, CLUSTERS))
                found.append(dict(image_id=image, category_id=cluster, score=float(np.round(rng.random(), 6)),
                                  bbox=[x + dx, y + dy, max(3, w + dw), max(3, h + dh)]))
    images = [dict(id=i, file_name=f"{i}.jpg", height=120, width=120) for i in range(1, IMAGES + 1)]
    with tempfile.TemporaryDirectory() as folder:
        names = [f"c{k}" for k in range(CLASSES)]
        for image in images:
            with open(os.path.join(folder, f"{image['id']}.xml"), "w") as f:
                f.write("<annotation>")
                for t in truth:
                    if t["image_id"] != image["id"]:
                        continue
                    x, y, w, h = t["bbox"]
                    f.write(f"<object><name>{names[t['category_id']]}</name><pose>x</pose><truncated>0</truncated>"
                            f"<difficult>{t['iscrowd']}</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
                            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>")
                f.write("</annotation>")
        with open(os.path.join(folder, "set.txt"), "w") as f:
            f.write("\n".join(str(i["id"]) for i in images))
        detections = {k: {"image_ids": [], "confidence": [], "BB": []} for k in range(CLUSTERS)}
        for d in found:
            x, y, w, h = d["bbox"]
            of = detections[d["category_id"]]
            of["image_ids"].append(str(d["image_id"]))
            of["confidence"].append(d["score"])
            of["BB"].append([x + 1, y + 1, x + w, y + h])
        lost["sort_detections"](detections)

        def ap(cluster, k, threshold):
            return float(lost["voc_eval"](detections[cluster], os.path.join(folder, "{}.xml"),
                                          os.path.join(folder, "set.txt"), names[k], ovthresh=threshold)[2])

        rewards = np.array([[ap(c, k, 0.5) for c in range(CLUSTERS)] for k in range(CLASSES)])
        _, _, _, cluster_of, _ = lost["hungarian_matching"](rewards)
        expected = []
        for k in range(CLASSES):
            each = [ap(cluster_of[k], k, t / 100) for t in range(50, 100, 5)]
            expected.append(dict(id=k, group=int(cluster_of[k]), AP50=each[0], AP75=each[5], AP=float(np.mean(each))))
    golden = dict(truth=dict(images=images, annotations=truth, categories=[dict(id=k, name=n) for k, n in
                                                                           enumerate(names)]),
                  predictions=found, rewards=rewards.tolist(), expected=expected,
                  versions=dict(numpy=np.__version__, scipy=scipy.__version__))
    path = os.path.join(OUT, "voc_eval.json")
    with open(path, "w") as f:
        json.dump(golden, f, indent=None, separators=(",", ":"))
    print(os.path.getsize(path), expected)


main()

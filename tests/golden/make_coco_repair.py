#!/usr/bin/env python3
"""Writes tests/golden/coco_repair.json: areas and boxes of masks as pycocotools computes them (annToRLE, area, toBbox).

usage: make_coco_repair.py OUT.json
"""
import contextlib
import io
import json
import sys
from importlib.metadata import version

import numpy as np
from pycocotools import mask as M
from pycocotools.coco import COCO


def main():
    rng = np.random.default_rng(4)
    images, annotations = [], []
    for image_id in range(1, 7):
        h, w = (int(s) for s in rng.integers(20, 90, 2))
        images.append({"id": image_id, "height": h, "width": w, "file_name": f"{image_id}.jpg"})
        for kind in ("one", "two", "counts", "text", "outside"):
            n = int(rng.integers(3, 9))
            around = np.sort(rng.uniform(0, 2 * np.pi, n))
            shape = np.stack([w / 2 + np.cos(around) * w * 0.4, h / 2 + np.sin(around) * h * 0.4], 1).round(2)
            if kind == "outside":
                shape += [w * 0.4, 0]
            polygons = [shape.reshape(-1).round(2).tolist()]
            if kind == "two":
                polygons.append([1, 1, 6.5, 1, 6.5, 4.25, 1, 4.25])
            rle = M.merge(M.frPyObjects(polygons, h, w))
            if kind == "counts":
                flat = M.decode(rle).reshape(-1, order="F")
                edges = np.flatnonzero(np.diff(flat)) + 1
                runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
                segmentation = {"size": [h, w], "counts": ([0] if flat[0] else []) + runs}
            elif kind == "text":
                segmentation = {"size": [h, w], "counts": rle["counts"].decode()}
            else:
                segmentation = polygons
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": 1,
                                "segmentation": segmentation})
    dataset = {"info": {"made_with": f"pycocotools {version('pycocotools')}"}, "images": images,
               "categories": [{"id": 1, "name": "fg"}], "annotations": annotations}
    coco = COCO()
    coco.dataset = json.loads(json.dumps(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    expected = []
    for annotation in coco.dataset["annotations"]:
        rle = coco.annToRLE(annotation)
        expected.append({"area": int(M.area(rle)), "bbox": M.toBbox(rle).tolist()})
    with open(sys.argv[1], "w") as out:
        json.dump({"dataset": dataset, "expected": expected}, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/coco_eval.json: small data sets, predictions for them, and pycocotools' verdict.

usage: make_coco_eval.py OUT.json [--seed N] [--rounds N]     (other seeds and more rounds for a longer run)
       make_coco_eval.py OUT.json --truth GT.json             (perturbs a real data set instead; too large to keep)
"""
import argparse
import contextlib
import copy
import io
import json
from importlib.metadata import version

import numpy as np
from pycocotools import mask as M
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def rle(mask):
    r = M.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": r["counts"].decode()}


def as_rle(truth, annotation):
    r = load(truth).annToRLE(annotation)
    return {"size": r["size"], "counts": r["counts"].decode() if isinstance(r["counts"], bytes) else r["counts"]}


def shape(rng, h, w, box):
    """A mask inside the box: all of it, an ellipse, or the box with a corner cut off."""
    y, x = np.mgrid[:h, :w]
    bx, by, bw, bh = box
    m = (x >= bx) & (x < bx + bw) & (y >= by) & (y < by + bh)
    kind = rng.integers(3)
    if kind == 1:
        m &= ((x + 0.5 - bx - bw / 2) / (bw / 2 + 1e-9)) ** 2 + ((y + 0.5 - by - bh / 2) / (bh / 2 + 1e-9)) ** 2 <= 1
    elif kind == 2:
        m &= ~((x < bx + bw / 3) & (y < by + bh / 3))
    return m


def random_box(rng, h, w):
    bw, bh = np.exp(rng.uniform(np.log(3), np.log(w))), np.exp(rng.uniform(np.log(3), np.log(h)))
    return [round(v, 2) for v in (rng.uniform(0, w - bw), rng.uniform(0, h - bh), bw, bh)]


def make_truth(rng, images=8, categories=4, objects=6, crowd=0.1, size=(170, 190)):
    truth = {"images": [], "annotations": [], "categories": []}
    ids = rng.permutation(10000)[:images]
    category_ids = sorted(rng.permutation(90)[:categories] + 1)
    for c in category_ids[::-1]:  # not in ascending order, as pycocotools sorts them
        truth["categories"].append({"id": int(c), "name": f"class {c}"})
    for i in ids:
        h, w = int(rng.integers(60, size[0])), int(rng.integers(60, size[1]))
        truth["images"].append({"id": int(i), "height": h, "width": w, "file_name": f"{i}.jpg"})
    for image in truth["images"]:
        for _ in range(rng.integers(0, objects + 1)):
            box = random_box(rng, image["height"], image["width"])
            mask = shape(rng, image["height"], image["width"], box)
            if not mask.any():
                continue
            x, y, bw, bh = box
            polygon = [[x, y, x + bw, y, x + bw, y + bh, x, y + bh], [x, y, x + bw / 2, y, x, y + bh]]
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": image["id"], "bbox": box,
                "category_id": int(rng.choice(category_ids)), "iscrowd": int(rng.random() < crowd),
                "area": round(float(mask.sum() * rng.uniform(0.8, 1)), 2),
                "segmentation": rle(mask) if rng.random() < 0.7 else [[round(v, 2) for v in p] for p in polygon]})
    rng.shuffle(truth["annotations"])
    return truth


def make_predictions(rng, truth, keep=0.8, extra=4, copies=1, noise=0.15, masks=True, levels=None):
    images = {i["id"]: i for i in truth["images"]}
    ids = [c["id"] for c in truth["categories"]]
    predictions = []

    def add(image, box, category):
        h, w = image["height"], image["width"]
        score = rng.random()
        if levels:
            score = rng.integers(levels) / levels
        p = {"image_id": image["id"], "category_id": int(category), "bbox": box, "score": float(score)}
        if masks:
            p["segmentation"] = rle(shape(rng, h, w, box))
        predictions.append(p)

    for a in truth["annotations"]:
        if rng.random() > keep:
            continue
        image = images[a["image_id"]]
        for _ in range(copies):
            x, y, bw, bh = a["bbox"]
            box = np.array([x, y, bw, bh]) + rng.normal(0, noise, 4) * [bw, bh, bw, bh] * rng.integers(0, 2)
            box = [round(float(v), 2) for v in (box[0], box[1], max(box[2], 0), max(box[3], 0))]
            add(image, box, a["category_id"] if rng.random() < 0.85 else rng.choice(ids))
    for image in truth["images"]:
        for _ in range(rng.integers(0, extra + 1)):
            add(image, random_box(rng, image["height"], image["width"]), rng.choice(ids))
    rng.shuffle(predictions)
    return predictions


def cases(rng):
    truth = make_truth(rng)
    yield "perturbed", truth, make_predictions(rng, truth)
    yield "perfect", truth, [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.5,
         "segmentation": as_rle(truth, a)} for a in truth["annotations"]]
    yield "no predictions", truth, []
    truth = make_truth(rng, images=6, categories=3)
    predictions = make_predictions(rng, truth, noise=0.05)
    yield "each prediction three times", truth, predictions * 3
    truth = make_truth(rng, images=6, categories=2, objects=9)
    yield "ties in score", truth, make_predictions(rng, truth, copies=3, levels=3)
    yield "one score", truth, make_predictions(rng, truth, levels=1)
    truth = make_truth(rng, images=6, categories=3, crowd=0.6)
    yield "crowds", truth, make_predictions(rng, truth, copies=3, noise=0.3)
    truth = make_truth(rng, images=4, categories=2)
    for a in truth["annotations"]:
        a["iscrowd"] = 1
    yield "nothing but crowds", truth, make_predictions(rng, truth)
    truth = make_truth(rng, images=3, categories=2, objects=3)
    yield "300 detections an image", truth, make_predictions(rng, truth, copies=20, noise=0.2, extra=300, masks=False)
    truth = make_truth(rng, images=10, categories=5, objects=3)
    some = {i["id"] for i in truth["images"][:4]}
    yield "images without predictions", truth, [p for p in make_predictions(rng, truth) if p["image_id"] in some]
    truth = {**truth, "annotations": [a for a in truth["annotations"] if a["image_id"] not in some]}
    yield "images without truths", truth, make_predictions(rng, truth, extra=6)
    yield "no truths", {**truth, "annotations": []}, make_predictions(rng, truth)
    yield "thresholds and area bounds", *edges()
    truth = make_truth(rng, images=5, categories=3)
    predictions = make_predictions(rng, truth)
    for p in predictions[::3]:
        p["score"] = p["score"] * 40 - 20
    yield "scores of any size", truth, predictions
    predictions = make_predictions(rng, truth, noise=0.02)
    for p in predictions:
        p["bbox"] = [round(v) for v in p["bbox"]]
    yield "equal overlaps", doubled(truth), predictions


def doubled(truth):
    """Every truth twice: once as it is, once as a crowd or in another category."""
    truth = copy.deepcopy(truth)
    ids = [c["id"] for c in truth["categories"]]
    for a in list(truth["annotations"]):
        b = copy.deepcopy(a)
        b["id"] = len(truth["annotations"]) + 1
        if b["id"] % 3 == 0:
            b["iscrowd"] = 1
        elif b["id"] % 3 == 1:
            b["category_id"] = ids[b["id"] % len(ids)]
        truth["annotations"].append(b)
    return truth


def edges():
    """IoU exactly at thresholds, areas exactly at bounds, boxes without area, and truths of area 0."""
    truth = {"images": [{"id": 1, "height": 130, "width": 130, "file_name": "1.jpg"}],
             "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "never true"}], "annotations": []}
    predictions = []
    full = lambda x, y, w, h: rle(np.pad(np.ones((h, w)), ((y, 130 - h - y), (x, 130 - w - x))))
    for n, (x, y, s) in enumerate([(0, 0, 32), (32, 0, 32), (0, 32, 96), (98, 98, 20), (100, 0, 16), (96, 40, 31)]):
        truth["annotations"].append({"id": n + 1, "image_id": 1, "category_id": 1, "bbox": [x, y, s, s], "iscrowd": 0,
                                     "area": s * s, "segmentation": full(x, y, s, s)})
        for k, part in enumerate((1, 0.5, 0.75)):
            w = int(s * part)
            predictions.append({"image_id": 1, "category_id": 1 + (n + k) % 2 * (n % 3 == 0), "bbox": [x, y, w, s],
                                "score": 0.1 * n - 0.05 * k, "segmentation": full(x, y, w, s)})
    truth["annotations"][3]["area"] = 0
    predictions.append({"image_id": 1, "category_id": 1, "bbox": [5, 5, 0, 9], "score": 0.9,
                        "segmentation": rle(np.zeros((130, 130)))})
    return truth, predictions


def load(dataset):
    coco = COCO()
    coco.dataset = copy.deepcopy(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def judge(truth, predictions, iou_type, agnostic, max_dets):
    with contextlib.redirect_stdout(io.StringIO()):
        gt = load(truth)
        dets = copy.deepcopy(predictions)
        if iou_type == "segm":  # as Detectron2 does, so that the area is the mask's
            for d in dets:
                d.pop("bbox", None)
        dt = gt.loadRes(dets) if dets else load({**truth, "annotations": []})
        e = COCOeval(gt, dt, iou_type)
        e.params.useCats = 0 if agnostic else 1
        e.params.maxDets = max_dets
        e.evaluate()
        e.accumulate()
    precision, recall = e.eval["precision"], e.eval["recall"]

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0

    summary = {"AP": mean(precision[..., 0, -1]), "AP50": mean(precision[0][..., 0, -1]),
               "AP75": mean(precision[5][..., 0, -1])}
    for a, s in enumerate("sml", 1):
        summary["AP" + s] = mean(precision[..., a, -1])
    for m, n in enumerate(max_dets):
        summary[f"AR{n}"] = mean(recall[:, :, 0, m])
    for a, s in enumerate("sml", 1):
        summary["AR" + s] = mean(recall[:, :, a, -1])
    if max_dets == [1, 10, 100]:
        with contextlib.redirect_stdout(io.StringIO()):
            e.summarize()
        assert np.allclose(e.stats, list(summary.values()), atol=1e-12, rtol=0)
    per_category = [mean(precision[:, :, k, 0, -1]) for k in range(precision.shape[2])]
    return {"type": iou_type, "class_agnostic": agnostic, "max_dets": max_dets, "metrics": summary,
            "per_category": per_category, "recall": recall.reshape(-1).tolist(),
            # One number per curve.
            "precision_means": precision.mean(1).reshape(-1).tolist(),
            "score_means": e.eval["scores"].mean(1).reshape(-1).tolist()}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out")
    arguments.add_argument("--seed", type=int, default=11)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--truth")
    args = arguments.parse_args()
    rng = np.random.default_rng(args.seed)
    out = {"versions": {"pycocotools": version("pycocotools"), "numpy": np.__version__},
           "iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(), "recall_points": np.linspace(0, 1, 101).tolist(),
           "cases": []}
    if args.truth:
        with open(args.truth) as f:
            truth = json.load(f)
        every = [("real", truth, make_predictions(rng, truth, copies=2, levels=50)) for _ in range(args.rounds)]
    else:
        every = [case for _ in range(args.rounds) for case in cases(rng)]
    for name, truth, predictions in every:
        masks = all("segmentation" in p for p in predictions)
        runs = []
        for iou_type in ("bbox", "segm") if masks else ("bbox",):
            for agnostic in (False, True):
                runs.append(judge(truth, predictions, iou_type, agnostic, [1, 10, 100]))
        runs.append(judge(truth, predictions, "bbox", False, [2, 5]))
        out["cases"].append({"name": name, "truth": truth, "predictions": predictions, "runs": runs})
        # Only one run of a case keeps its arrays: they are most of the file.
        for run in runs[1:] if not args.truth and args.rounds == 1 else []:
            for key in ("recall", "precision_means", "score_means"):
                del run[key]
    with open(args.out, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()

"""Golden training pictures: resizing and flipping by Detectron2 on Pillow, copy-paste by CutLER's own code with the random
numbers given.

Usage: make_training_data.py CUTLER_FOLDER [OUTPUT.safetensors]; the folder is a checkout of
github.com/facebookresearch/CutLER. Needs detectron2, torch, numpy, Pillow and safetensors; no GPU.
"""

import copy
import random
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances
from safetensors.numpy import save_file

CASES = {  # name: (objects of the target, of the source, chosen, ratio, x, y)
    "several": (2, 4, [3, 0, 1], 0.7, 9, 6),
    "empty_target": (0, 3, [2, 0], 0.6, 5, 11),
    "covering": (3, 4, [0, 1, 2], 1.0, 0, 0),
    "vanishing": (2, 2, [1], 0.3, 3, 4),
    "all_left_out": (3, 1, [0], 1.0, 0, 0),
}


def picture(rng, height, width):
    return rng.integers(0, 256, size=(height, width, 3)).astype(np.uint8)


def objects(rng, count, height, width):
    masks = np.zeros((count, height, width), np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for i in range(count):
        y0, x0 = rng.integers(0, height // 2), rng.integers(0, width // 2)
        y1, x1 = y0 + rng.integers(6, height // 2), x0 + rng.integers(6, width // 2)
        masks[i, y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < 0.8
        boxes[i] = x0 - 0.25, y0 + 0.5, x1 + 0.25, y1  # the annotation's box need not be the mask's
    return masks, boxes


def instances(masks, boxes):
    result = Instances(masks.shape[1:])
    result.gt_boxes = Boxes(torch.from_numpy(boxes.copy()))
    result.gt_classes = torch.arange(len(boxes))
    result.gt_masks = BitMasks(torch.from_numpy(masks.astype(bool)))
    return result


def main():
    cutler = Path(sys.argv[1]) / "cutler"
    sys.path.insert(0, str(cutler))
    from engine.train_loop import CustomSimpleTrainer

    rng = np.random.default_rng(3)
    out = {}
    # ---- resizing and flipping
    image = picture(rng, 37, 53)
    masks, boxes = objects(rng, 3, 37, 53)
    out.update({"transform/image": image, "transform/masks": masks, "transform/boxes": boxes})
    for name, side, most, flip in (("up", 64, 1333, False), ("flip", 24, 1333, True), ("capped", 90, 101, True)):
        height, width = T.ResizeShortestEdge.get_output_shape(37, 53, side, most)
        steps = [T.ResizeTransform(37, 53, height, width)] + ([T.HFlipTransform(width)] if flip else [])
        all_steps = T.TransformList(steps)
        moved = all_steps.apply_box(boxes.astype(np.float64)).clip(min=0)
        out[f"transform/{name}/image"] = np.ascontiguousarray(all_steps.apply_image(image))
        out[f"transform/{name}/masks"] = np.stack([all_steps.apply_segmentation(m) for m in masks])
        out[f"transform/{name}/boxes"] = np.minimum(moved, [width, height] * 2).astype(np.float32)

    # ---- copy-paste
    trainer = CustomSimpleTrainer.__new__(CustomSimpleTrainer)
    trainer.cfg_COPY_PASTE_RATE, trainer.cfg_COPY_PASTE_RANDOM_NUM = 1.0, True
    trainer.cfg_COPY_PASTE_MIN_RATIO, trainer.cfg_COPY_PASTE_MAX_RATIO = 0.3, 1.0
    trainer.cfg_VISUALIZE_COPY_PASTE = False
    for name, (of_target, of_source, chosen, ratio, x, y) in CASES.items():
        target, source = picture(rng, 40, 48), picture(rng, 36, 52)
        target_masks, target_boxes = objects(rng, of_target, 40, 48)
        source_masks, source_boxes = objects(rng, of_source, 36, 52)
        if name == "vanishing":  # one pixel between the samples
            source_masks[1] = 0
            source_masks[1, 0, 0] = 1
        if name == "all_left_out":
            source_masks[0] = 1
        if name == "covering":  # hides the target's last object almost, the others not
            target_masks[2] = 0
            target_masks[2, 2:12, 30:40] = 1
            source_masks[0] = 0
            source_masks[0, 2:8, 33:42] = 1
            source_masks[1] = 0
            source_masks[1, 7:11, 33:42] = 1
        for key, value in (("target", target), ("target_masks", target_masks), ("target_boxes", target_boxes),
                           ("source", source), ("source_masks", source_masks), ("source_boxes", source_boxes)):
            out[f"{name}/{key}"] = value
        out[f"{name}/chosen"] = np.array(chosen)
        out[f"{name}/place"] = np.array([ratio, x, y])
        offsets = [x, y]
        random.random = lambda: 0.0
        random.uniform = lambda low, high: ratio
        random.randint = lambda low, high: offsets.pop(0)
        np.random.randint = lambda low, high: len(chosen)
        np.random.choice = lambda n, count, replace: np.array(chosen)
        data = [{"image": torch.from_numpy(i.transpose(2, 0, 1).copy()), "instances": instances(m, b)}
                for i, m, b in ((target, target_masks, target_boxes), (source, source_masks, source_boxes))]
        result = trainer.copy_and_paste([copy.deepcopy(data[1])], [data[0]])[0]
        fields = result["instances"]
        out[f"{name}/result"] = result["image"].numpy().transpose(1, 2, 0).astype(np.uint8).copy()
        out[f"{name}/result_masks"] = fields.gt_masks.tensor.numpy().astype(np.uint8)
        out[f"{name}/result_boxes"] = fields.gt_boxes.tensor.numpy().astype(np.float32)
        out[f"{name}/result_classes"] = fields.gt_classes.numpy()
    path = sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent / "training_data.safetensors"
    versions = {name: version(name) for name in ("torch", "numpy", "pillow")}
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, str(path), metadata=versions)
    print(path, versions)


if __name__ == "__main__":
    main()

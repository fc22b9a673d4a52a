"""Golden strong views and pasted pictures of FreeSOLO's training: torchvision's transforms on Pillow images, and the public
code's own copy-paste, with the random numbers given.

Usage: make_views.py FREESOLO_FOLDER DETECTRON2_FOLDER [OUTPUT.safetensors]; the folders are checkouts of
github.com/NVlabs/FreeSOLO and facebookresearch/detectron2 (need not be built). Needs torch, torchvision, numpy, Pillow,
opencv, pycocotools, fvcore, iopath, yacs and safetensors; no GPU.

"view/N" is made of noise(26, 34, 3) (make_adjust.py) by "view/N/parameters" (as train/strong_view takes them) and, for each
rectangle of it, "view/N/noise/K". "paste/NAME/..." are as in make_training_data.py, without a place: the source is
stretched over the whole target.
"""

import copy
import importlib.util
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from make_adjust import blurred, noise
from PIL import Image
from safetensors.numpy import save_file
from torchvision import transforms
from torchvision.transforms import functional as F

# jitter's order (brightness, contrast, saturation, hue), its four numbers, grey, blur; then top, left, height, width of
# each rectangle of noise. Later rectangles lie over earlier ones.
VIEWS = [
    ((1, 3, 0, 2, 1.33, 0.68, 1.25, -0.08, 0, 0.0), [(2, 3, 5, 7), (5, 6, 4, 9)]),
    ((3, 0, 2, 1, 0.71, 1.12, 0.66, 0.06, 1, 0.9), []),
    ((0, 1, 2, 3, 1.0, 1.4, 1.4, 0.1, 0, 1.8), [(0, 0, 3, 3), (20, 30, 6, 4), (1, 1, 2, 5)]),
]
# No pixel of the one lies just on a pixel of the other: whether such a weight is 0 or 1e-7 differs between PyTorch's versions.
TARGET, SOURCE = (23, 28), (18, 33)
PASTES = {  # name: (objects of the target, of the source, chosen)
    "several": (2, 4, [3, 0, 1]),
    "empty_target": (0, 3, [2, 0]),
    "covering": (3, 4, [0, 1, 2]),
    "all_left_out": (3, 1, [0]),
    "none": (2, 2, []),
    "hidden": (3, 4, [0, 1, 2]),
}


def view(image, parameters, rectangles, noises):
    order, (brightness, contrast, saturation, hue, grey, blur) = parameters[:4], parameters[4:]
    for which in order:
        image = [lambda i: F.adjust_brightness(i, brightness), lambda i: F.adjust_contrast(i, contrast),
                 lambda i: F.adjust_saturation(i, saturation), lambda i: F.adjust_hue(i, hue)][which](image)
    image = F.to_grayscale(image, num_output_channels=3) if grey else image
    image = blurred(image, blur) if blur else image
    pixels = transforms.ToTensor()(image)
    for (top, left, height, width), values in zip(rectangles, noises):
        pixels = F.erase(pixels, top, left, height, width, values)
    return transforms.ToPILImage()(pixels)


def trainer_class(freesolo, detectron2):
    """FreeSOLO's trainer, of which copy_and_paste needs Detectron2's structures alone."""
    sys.path.insert(0, str(detectron2))
    import detectron2.structures.instances  # noqa: F401

    class Stub(types.ModuleType):
        def __getattr__(self, name):
            return type(name, (), {})

    for name in ("detectron2.utils.comm", "detectron2.engine", "detectron2.engine.hooks", "detectron2.checkpoint",
                 "detectron2.utils.events", "detectron2.evaluation", "fvcore.nn.precise_bn", "freesolo", "freesolo.data",
                 "freesolo.data.build", "freesolo.data.dataset_mapper"):
        sys.modules[name] = Stub(name)
    spec = importlib.util.spec_from_file_location("trainer", freesolo / "freesolo/engine/trainer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BaselineTrainer


def objects(rng, count, height, width):
    masks = np.zeros((count, height, width), np.uint8)
    boxes = np.zeros((count, 4), np.float32)
    for i in range(count):
        y0, x0 = rng.integers(0, height // 2), rng.integers(0, width // 2)
        y1, x1 = y0 + rng.integers(4, height // 2), x0 + rng.integers(4, width // 2)
        masks[i, y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < 0.8
        boxes[i] = x0 - 0.25, y0 + 0.5, x1 + 0.25, y1  # the annotation's box need not be the mask's
    return masks, boxes


def main():
    freesolo, detectron2 = Path(sys.argv[1]), Path(sys.argv[2])
    trainer = trainer_class(freesolo, detectron2)
    from detectron2.structures import BitMasks, Boxes, Instances

    out = {}
    # What is not erased comes through bytes, floats and bytes again unchanged.
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, 2)
    assert (np.asarray(transforms.ToPILImage()(transforms.ToTensor()(levels))) == levels).all()
    generator = torch.Generator().manual_seed(5)
    for i, (parameters, rectangles) in enumerate(VIEWS):
        noises = [torch.randn(3, height, width, generator=generator) for _, _, height, width in rectangles]
        out[f"view/{i}"] = np.asarray(view(Image.fromarray(noise(26, 34, 3)), parameters, rectangles, noises)).copy()
        out[f"view/{i}/parameters"] = np.array(parameters, np.float64)
        for k, (rectangle, values) in enumerate(zip(rectangles, noises)):
            out[f"view/{i}/rectangle/{k}"] = np.array(rectangle, np.int64)
            out[f"view/{i}/noise/{k}"] = values.numpy()

    def instances(masks, boxes):
        result = Instances(masks.shape[1:])
        result.gt_boxes = Boxes(torch.from_numpy(boxes.copy()))
        result.gt_classes = torch.arange(len(boxes))
        result.gt_masks = BitMasks(torch.from_numpy(masks.astype(bool)))
        return result

    rng = np.random.default_rng(3)
    for name, (of_target, of_source, chosen) in PASTES.items():
        target, source = (rng.integers(0, 256, size=(h, w, 3)).astype(np.uint8) for h, w in (TARGET, SOURCE))
        target_masks, target_boxes = objects(rng, of_target, *TARGET)
        source_masks, source_boxes = objects(rng, of_source, *SOURCE)
        if name == "all_left_out":
            source_masks[0] = 1
        if name in ("covering", "hidden"):  # one hides half of the target's last object; three together all of it
            target_masks[2] = 0
            target_masks[2, 10:20, 18:26] = 1
            source_masks[:3] = 0
            rows = ((8, 11), (12, 13), (15, 18)) if name == "covering" else ((8, 10), (11, 13), (14, 17))
            for i, (y0, y1) in enumerate(rows):
                source_masks[i, y0:y1, 18:33] = 1
        for key, value in (("target", target), ("target_masks", target_masks), ("target_boxes", target_boxes),
                           ("source", source), ("source_masks", source_masks), ("source_boxes", source_boxes)):
            out[f"paste/{name}/{key}"] = value
        out[f"paste/{name}/chosen"] = np.array(chosen, np.int64)
        np.random.randint = lambda most: len(chosen)
        np.random.choice = lambda n, count, replace: np.array(chosen)
        data = [{"image": torch.from_numpy(i.transpose(2, 0, 1).copy()), "instances": instances(m, b)}
                for i, m, b in ((target, target_masks, target_boxes), (source, source_masks, source_boxes))]
        result = trainer.copy_and_paste(None, [copy.deepcopy(data[1])], [data[0]])
        print(name, len(result), "results of one")
        fields = result[-1]["instances"]
        out[f"paste/{name}/result"] = result[-1]["image"].numpy().transpose(1, 2, 0).astype(np.uint8).copy()
        out[f"paste/{name}/result_masks"] = fields.gt_masks.tensor.numpy().astype(np.uint8)
        out[f"paste/{name}/result_boxes"] = fields.gt_boxes.tensor.numpy().astype(np.float32)
        out[f"paste/{name}/result_classes"] = fields.gt_classes.numpy()
    path = sys.argv[3] if len(sys.argv) > 3 else str(Path(__file__).parent / "views.safetensors")
    versions = {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")} | {"FreeSOLO": "340311b"}
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, path, metadata=versions)
    print(path, versions)


if __name__ == "__main__":
    main()

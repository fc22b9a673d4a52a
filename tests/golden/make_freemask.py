"""Golden free masks: FreeSOLO's own script run on made-up maps instead of a network's.

Usage: make_freemask.py FREESOLO_FOLDER [OUTPUT_FOLDER]; the folder is a checkout of github.com/NVlabs/FreeSOLO. Needs torch,
numpy, opencv, pycocotools and safetensors; no GPU and no Detectron2: what the script asks it for is replaced.

demo/inference_freemask.py runs as it is. Its pictures are empty files, its network hands out the maps below, and argsort is
made stable, since it leaves the order of equal scores open. Written are freemask.json, the file that the script makes
without its embeddings, and freemask.safetensors: for each picture "map" [C, h, w], "size" (height, width), "before" and
"after" (maskness around the matrix NMS, in the order before it), "soft" (the first of the masks kept, on the map's grid)
and "emb" (of the objects in freemask.json).
"""

import importlib.util
import json
import os
import runpy
import sys
import tempfile
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

CASES = {  # number: ((channels, h, w), (height, width)); sides odd and even, below and above four cells
    1: ((10, 9, 13), (150, 211)),
    2: ((6, 13, 8), (203, 128)),
    3: ((4, 7, 7), (97, 97)),
    4: ((3, 5, 6), (60, 80)),  # constant: no mask, so it is missing in the file
    5: ((12, 12, 17), (120, 167)),
}
SOFT = 4


def maps():
    generator = torch.Generator().manual_seed(11)
    for number, ((channels, h, w), _) in CASES.items():
        coarse = torch.randn(1, channels, (h + 3) // 3, (w + 3) // 3, generator=generator)
        smooth = F.interpolate(coarse, size=(h, w), mode="bicubic", align_corners=True)[0]
        fine = smooth + 0.1 * torch.randn(channels, h, w, generator=generator)
        yield number, torch.ones(channels, h, w) if number == 4 else torch.relu(fine + 0.2) + 0.05


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made


def main():
    freesolo = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent).resolve()
    spec = importlib.util.spec_from_file_location("utils", freesolo / "freesolo/modeling/solov2/utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    features, tensors, current = dict(maps()), {}, []

    def read_image(path, format):
        current[:] = [int(Path(path).stem)]
        return np.zeros((*CASES[current[0]][1], 3), np.uint8)

    class Demo:
        def __init__(self, cfg):
            pass

        def run_on_image(self, image):
            return {"res5": features[current[0]][None].clone()}, None

    def matrix_nms(labels, masks, areas, scores, **options):
        result = utils.matrix_nms(labels, masks, areas, scores, **options)
        tensors[f"{current[0]}.before"], tensors[f"{current[0]}.after"] = scores.numpy(), result.numpy()
        return result

    interpolate = F.interpolate

    def kept_interpolate(x, **options):
        if isinstance(options.get("size"), tuple):
            tensors[f"{current[0]}.soft"] = x[0, :SOFT].numpy().copy()
        return interpolate(x, **options)

    F.interpolate = kept_interpolate
    argsort = torch.argsort
    torch.argsort = lambda x, dim=-1, descending=False: argsort(x, dim=dim, descending=descending, stable=True)
    config = types.SimpleNamespace(merge_from_file=lambda _: None, merge_from_list=lambda _: None, freeze=lambda: None)
    for name in ("detectron2", "detectron2.data", "detectron2.utils", "freesolo.modeling", "freesolo.modeling.solov2"):
        module(name)
    module("detectron2.config", get_cfg=lambda: config)
    module("detectron2.data.detection_utils", read_image=read_image)
    module("detectron2.utils.logger", setup_logger=lambda name="": types.SimpleNamespace(info=lambda _: None))
    module("predictor", VisualizationDemo=Demo)
    module("freesolo", add_solo_config=lambda _: None)
    module("freesolo.modeling.solov2.utils", matrix_nms=matrix_nms, center_of_mass=utils.center_of_mass)
    module("tqdm", tqdm=lambda x, disable: x)

    with tempfile.TemporaryDirectory() as work:
        os.makedirs(f"{work}/pictures")
        os.makedirs(f"{work}/datasets/coco/annotations")
        for number in CASES:
            Path(f"{work}/pictures/{number}.jpg").touch()
        Path(f"{work}/datasets/coco/annotations/instances_train2017.json").write_text('{"categories": [{"id": 1}]}')
        os.chdir(work)
        sys.argv = ["inference_freemask.py", "--input", "pictures", "--output", "out.json", "--split", "-1"]
        runpy.run_path(str(freesolo / "demo/inference_freemask.py"), run_name="__main__")
        made = json.loads(Path("out.json").read_text())
    made["images"].sort(key=lambda image: image["id"])
    made["annotations"].sort(key=lambda annotation: annotation["image_id"])  # stable: a picture's keep their order
    for number, map_ in features.items():
        own = [a for a in made["annotations"] if a["image_id"] == number]
        tensors[f"{number}.map"] = map_.numpy()
        tensors[f"{number}.size"] = np.array(CASES[number][1], np.int64)
        if own:
            tensors[f"{number}.emb"] = np.array([a.pop("emb") for a in own], np.float32)
        scores = np.sort(tensors.get(f"{number}.after", np.zeros(1)))[::-1]
        gap = np.min(scores[:20] - scores[1:21], initial=1, where=scores[:20] != scores[1:21]) if len(scores) > 20 else 1
        print(number, len(own), "objects, least gap of scores", gap, [round(a["score"], 3) for a in own])
    (folder / "freemask.json").write_text(json.dumps(made))
    versions = {name: version(name) for name in ("torch", "numpy", "pycocotools")} | {"FreeSOLO": "340311b"}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(folder / "freemask.safetensors"), metadata=versions)
    print(versions)


if __name__ == "__main__":
    main()

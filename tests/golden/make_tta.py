#!/usr/bin/env python3
"""Golden runs of Detectron2's test-time augmentation (GeneralizedRCNNWithTTA) with the three small detectors of
make_rcnn.py and make_vitdet.py: the merged boxes and scores, and the averaged masks.

usage: make_tta.py DETECTRON2_SOURCE CUTLER_SOURCE GOLDEN_DIR
GOLDEN_DIR holds rcnn_weights.safetensors and vitdet_weights.safetensors and receives tta.safetensors. Needs what those
two scripts need.
"""
import os
import sys

DETECTRON2, CUTLER, GOLDEN = sys.argv[1:4]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_rcnn  # noqa: E402  (reads the same arguments)

sys.argv[1:] = [DETECTRON2, GOLDEN]
import make_vitdet  # noqa: E402
import torch  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling import test_time_augmentation  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

# The network's square of 160 holds all of them. Batches of three mix sizes, so that frames differ.
SHORT_SIDES, LONG_SIDE = (64, 88, 120), 160
MOST = 20


def settings():
    cfg = get_cfg()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE, cfg.TEST.AUG.FLIP = SHORT_SIDES, LONG_SIDE, True
    cfg.TEST.DETECTIONS_PER_IMAGE = MOST
    cfg.MODEL.MASK_ON, cfg.MODEL.ROI_HEADS.NUM_CLASSES = True, 1
    return cfg


def detectors():
    weights = load_file(f"{GOLDEN}/rcnn_weights.safetensors")
    shared = {k.split("/", 1)[1]: v for k, v in weights.items() if k.startswith("cascade/")}
    for name, run in (("cascade_mask_rcnn", "cascade"), ("mask_rcnn", "mask")):
        model = make_rcnn.modeling.build_model(make_rcnn.config(name, "BN"))
        own = {k.split("/", 1)[1]: v for k, v in weights.items() if k.startswith(run + "/")}
        state = model.state_dict()
        model.load_state_dict({k: own.get(k, shared.get(k, v)) for k, v in state.items()})
        yield run, model
    model = make_vitdet.build(0)
    model.load_state_dict(load_file(f"{GOLDEN}/vitdet_weights.safetensors"))
    yield "vitdet", model


def main():
    # torchvision's other way, which it takes for many boxes: without shifting levels apart, which rounds.
    nms = make_rcnn.torchvision.ops.boxes._batched_nms_vanilla
    for module in (make_rcnn.proposal_utils, make_rcnn.cutler_outputs, make_vitdet.proposal_utils, make_vitdet.fast_rcnn):
        module.batched_nms = lambda b, s, i, t: nms(b, s.to(b.dtype), i, t)
    test_time_augmentation.GeneralizedRCNN = torch.nn.Module  # CutLER's detectors are of another class of that name
    pictures = load_file(f"{GOLDEN}/rcnn_weights.safetensors")
    out = {}
    for run, model in detectors():
        model.eval()
        tta = test_time_augmentation.GeneralizedRCNNWithTTA(settings(), model)
        averaged, reduce = [], tta._reduce_pred_masks
        tta._reduce_pred_masks = lambda outputs, tfms: averaged.append(reduce(outputs, tfms)) or averaged[-1]
        for n in range(2):
            picture = pictures[f"picture_{n}"]
            # The first at its own size; the second stands for a picture of another size.
            size = tuple(picture.shape[:2]) if n == 0 else (100, 170)
            with torch.no_grad():
                found = tta([{"image": picture.permute(2, 0, 1), "height": size[0], "width": size[1]}])[0]["instances"]
            assert len(averaged[-1]) == len(found)
            out[f"{run}/boxes_{n}"], out[f"{run}/scores_{n}"] = found.pred_boxes.tensor, found.scores
            out[f"{run}/masks_{n}"] = averaged[-1][:8, 0]
            areas = found.pred_masks.flatten(1).sum(1)
            out[f"{run}/areas_{n}"] = areas.int()
            print(run, n, len(found), found.scores[:4].tolist(), areas[:4].tolist())
    path = os.path.join(GOLDEN, "tta.safetensors")
    save_file({k: v.contiguous() for k, v in out.items()}, path,
              metadata={"torch": torch.__version__, "torchvision": make_rcnn.torchvision.__version__})
    print(path, os.path.getsize(path))


main()

#!/usr/bin/env python3
"""Golden runs of CutLER's detectors (Cascade Mask R-CNN and Mask R-CNN) at small widths: every stage of one training
step and of inference, losses of ten SGD steps, gradients of all parameters.

usage: make_rcnn.py DETECTRON2_SOURCE CUTLER_SOURCE OUT_DIR
Detectron2's compiled extension is not needed: the RoIAlign and NMS that it uses are torchvision's.
"""
import os
import sys

DETECTRON2, CUTLER, OUT = sys.argv[1:4]
sys.path[:0] = [DETECTRON2, CUTLER + "/cutler"]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import modeling  # noqa: E402
import modeling.roi_heads.fast_rcnn as cutler_outputs  # noqa: E402
import modeling.roi_heads.roi_heads as cutler_heads  # noqa: E402
from config import add_cutler_config  # noqa: E402
from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling.proposal_generator import proposal_utils  # noqa: E402
from detectron2.modeling.proposal_generator import rpn as rpn_module  # noqa: E402
from detectron2.structures import BitMasks, Boxes, Instances  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

SIZES = [(96, 128), (80, 120)]  # network inputs; the second is padded
STEPS, RATE = 10, 0.01


def config(name, norm):
    cfg = get_cfg()
    add_cutler_config(cfg)
    cfg.merge_from_file(f"{CUTLER}/cutler/model_zoo/configs/CutLER-ImageNet/{name}_R_50_FPN.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = norm
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 4, 8
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 48
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN, cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 60, 100
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST, cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 150, 100
    cfg.TEST.DETECTIONS_PER_IMAGE = 20
    return cfg


def build(name, seed, norm="BN"):
    """BN is what SyncBN is in one process; SyncBN refuses the CPU."""
    torch.manual_seed(seed)
    model = modeling.build_model(config(name, norm))
    with torch.no_grad():
        for key, value in model.named_parameters():  # spread scores and boxes
            if "objectness_logits" in key or "cls_score.weight" in key:
                value.normal_(0, 0.6)
            elif "anchor_deltas" in key or "bbox_pred.weight" in key:
                value.normal_(0, 0.3)
            elif "mask_head.predictor" in key:
                value.normal_(0, 0.8)
            elif key.endswith("bias"):
                value.normal_(0, 0.1)
            elif "norm.weight" in key:
                value.uniform_(0.6, 1.4)
        for key, value in model.named_buffers():
            if key.endswith("running_mean"):
                value.normal_(0, 0.2)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2)
    return model, Recorder(model)


def picture(size, generator):
    """A smooth random picture, u8 [H, W, 3]."""
    low = torch.rand((1, 3, 8, 8), generator=generator) * 255
    x = torch.nn.functional.interpolate(low, size, mode="bicubic")[0].clamp(0, 255)
    return x.round().to(torch.uint8).permute(1, 2, 0).contiguous()


def truths(size, boxes):
    """Ellipses in boxes."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    masks = [(((x - (a + c) / 2) / ((c - a) / 2)) ** 2 + ((y - (b + d) / 2) / ((d - b) / 2)) ** 2) <= 1
             for a, b, c, d in boxes]
    out = Instances(size)
    out.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4).float())
    out.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    out.gt_masks = BitMasks(torch.stack(masks) if masks else torch.zeros((0, *size), dtype=torch.bool))
    return out


class Recorder:
    """What the parts of the model saw and made."""

    def __init__(self, model):
        self.out, self.truths = {}, []
        heads = model.roi_heads
        self.cascade = hasattr(heads, "num_cascade_stages")
        self.predictors = list(heads.box_predictor) if self.cascade else [heads.box_predictor]
        for k, predictor in enumerate(self.predictors):
            self.wrap_losses(k, predictor)
            predictor.register_forward_hook(self.on_predictor(k))
        model.backbone.register_forward_hook(lambda m, i, o: [self.put(key, v) for key, v in o.items()] and None)
        model.proposal_generator.rpn_head.register_forward_hook(self.on_rpn)
        model.proposal_generator.register_forward_hook(self.on_proposals)
        heads.box_pooler.register_forward_hook(lambda m, i, o: self.put_next("pooled", o))
        heads.mask_head.predictor.register_forward_hook(lambda m, i, o: self.put("mask_logits", o))
        heads.mask_pooler.register_forward_hook(lambda m, i, o: self.put("mask_pooled", o))

    def put(self, name, value):
        self.out[name] = value.detach().clone().contiguous()

    def put_next(self, name, value):
        k = 0
        while f"{name}_{k}" in self.out:
            k += 1
        self.put(f"{name}_{k}", value)

    def wrap_losses(self, k, predictor):
        original = predictor.losses

        def wrapped(predictions, proposals, weights=None):
            cat = lambda name: torch.cat([getattr(p, name) for p in proposals])
            self.put(f"gt_classes_{k}", cat("gt_classes"))
            if all(p.has("gt_boxes") for p in proposals):
                self.put(f"gt_boxes_{k}", torch.cat([p.gt_boxes.tensor for p in proposals]))
            if weights is not None:
                self.put(f"weights_{k}", weights)
            self.put(f"boxes_{k}", torch.cat([p.proposal_boxes.tensor for p in proposals]))
            self.put(f"box_counts_{k}", torch.tensor([len(p) for p in proposals]))
            self.paper(k, predictor, predictions, proposals)
            return original(predictions, proposals, weights=weights)

        predictor.losses = wrapped

    def paper(self, k, predictor, predictions, proposals):
        """Equation 5 of the paper, written out: weights and losses when the whole loss of a region is weighed."""
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        decoded = predictor.box2box_transform.apply_deltas(predictions[1], boxes).detach().double()
        weights, start = [], 0
        for p, truth in zip(proposals, self.truths):
            for box in decoded[start:start + len(p)]:
                best = 0.0
                for t in truth.gt_boxes.tensor.double():
                    w = min(box[2], t[2]) - max(box[0], t[0])
                    h = min(box[3], t[3]) - max(box[1], t[1])
                    if w > 0 and h > 0:
                        area = lambda b: (b[2] - b[0]) * (b[3] - b[1])
                        best = max(best, float(w * h / (area(box) + area(t) - w * h)))
                weights.append(1.0 if best > predictor_threshold else 0.0)
            start += len(p)
        weights = torch.tensor(weights)
        classes = torch.cat([p.gt_classes for p in proposals])
        losses = torch.nn.functional.cross_entropy(predictions[0], classes, reduction="none")
        self.put(f"paper_weights_{k}", weights)
        self.put(f"paper_loss_cls_{k}", (weights * losses).mean())
        fg = (classes == 0).nonzero()[:, 0]
        total = torch.zeros(())
        if all(p.has("gt_boxes") for p in proposals):
            targets = torch.cat([p.gt_boxes.tensor for p in proposals])
            deltas = predictor.box2box_transform.get_deltas(boxes[fg], targets[fg])
            total = ((predictions[1][fg] - deltas).abs().sum(1) * weights[fg]).sum() / len(classes)
        self.put(f"paper_loss_box_reg_{k}", total)

    def on_predictor(self, k):
        def hook(module, inputs, outputs):
            self.put(f"logits_{k}", outputs[0])
            self.put(f"deltas_{k}", outputs[1])
        return hook

    def on_rpn(self, module, inputs, outputs):
        for level, (logits, deltas) in enumerate(zip(*outputs)):
            n = logits.shape[0]
            self.put(f"rpn_logits_{level}", logits.permute(0, 2, 3, 1).reshape(n, -1))
            d = deltas.reshape(n, -1, 4, *deltas.shape[-2:]).permute(0, 3, 4, 1, 2)
            self.put(f"rpn_deltas_{level}", d.reshape(n, -1, 4))

    def on_proposals(self, module, inputs, outputs):
        for n, p in enumerate(outputs[0]):
            self.put(f"proposals_{n}", p.proposal_boxes.tensor)
            self.put(f"proposal_logits_{n}", p.objectness_logits)


predictor_threshold = 0.01
samples = []  # of every call of Detectron2's sampler


def record_samples(module):
    original = module.subsample_labels

    def wrapped(*arguments):
        result = original(*arguments)
        samples.append(result)
        return result

    module.subsample_labels = wrapped


def train(model, recorder, inputs, out, prefix, steps):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
    recorder.truths = [x["instances"] for x in inputs]
    series = []
    with EventStorage():
        for step in range(steps):
            samples.clear()
            recorder.out.clear()
            losses = model([dict(x) for x in inputs])
            series.append([losses[k].item() for k in sorted(losses)])
            optimiser.zero_grad()
            sum(losses.values()).backward()
            for i, (positive, negative) in enumerate(samples):
                name = f"{prefix}sample_{step}_{i}"
                out[name + "_positive"], out[name + "_negative"] = positive.int(), negative.int()
            if step == 0:
                for key, value in recorder.out.items():
                    out[prefix + key] = value
                for key, value in losses.items():
                    out[prefix + key] = value.detach()
                for key, value in model.named_parameters():
                    out[prefix + "grad/" + key] = value.grad.clone()
            optimiser.step()
    out[prefix + "series"] = torch.tensor(series)
    print(prefix, sorted(losses), series[0], series[-1], flush=True)
    for k in range(3):
        if f"{prefix}weights_{k}" in out:
            print("  weights", k, out[f"{prefix}weights_{k}"].mean().item(), out[f"{prefix}paper_weights_{k}"].mean().item())


def infer(model, recorder, inputs, out, prefix):
    model.eval()
    with torch.no_grad():
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        found, _ = model.roi_heads(images, features, proposals, None)
        for key, value in recorder.out.items():
            out[prefix + key] = value
        out[prefix + "images"] = images.tensor
        for n, d in enumerate(found):
            out[f"{prefix}detected_boxes_{n}"] = d.pred_boxes.tensor.clone()
            out[f"{prefix}detected_scores_{n}"] = d.scores.clone()
            out[f"{prefix}detected_masks_{n}"] = d.pred_masks[:, 0].clone().contiguous()
        # One alone, with its result scaled to another size.
        single = model([dict(inputs[1], height=30, width=75)])[0]["instances"]
        out[prefix + "final_boxes"] = single.pred_boxes.tensor
        out[prefix + "final_scores"] = single.scores
        out[prefix + "final_masks"] = single.pred_masks.to(torch.uint8)
    print(prefix, [len(d) for d in found], len(single), found[0].scores[:5], flush=True)


def state(model, only=""):
    return {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked") and only in k}


def save(name, tensors):
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    save_file(tensors, os.path.join(OUT, name), metadata={"torch": torch.__version__, "numpy": np.__version__,
                                                          "torchvision": torchvision.__version__})
    print(name, os.path.getsize(os.path.join(OUT, name)))


if __name__ == "__main__":
    # torchvision's other way, which it takes for many boxes: without shifting levels apart, which rounds.
    proposal_utils.batched_nms = cutler_outputs.batched_nms = torchvision.ops.boxes._batched_nms_vanilla
    record_samples(rpn_module)
    record_samples(cutler_heads)
    generator = torch.Generator().manual_seed(1)
    pictures = [picture(size, generator) for size in SIZES]
    objects = [truths(SIZES[0], [[8, 10, 50, 60], [60, 20, 110, 84], [12, 62, 40, 90]]),
               truths(SIZES[1], [[30, 30, 46, 41]])]
    nothing = truths(SIZES[1], [])
    inputs = [{"image": p.permute(2, 0, 1), "instances": t} for p, t in zip(pictures, objects)]
    common = {f"picture_{n}": p for n, p in enumerate(pictures)}
    for n, t in enumerate(objects):
        common[f"truth_boxes_{n}"] = t.gt_boxes.tensor
        common[f"truth_masks_{n}"] = t.gt_masks.tensor.to(torch.uint8)

    weights, training, inference = {}, {}, {}
    cascade, recorder = build("cascade_mask_rcnn", 0)
    weights.update({"cascade/" + k: v for k, v in state(cascade).items()})
    infer(cascade, recorder, inputs, inference, "cascade/")
    train(cascade, recorder, inputs, training, "cascade/", 1)
    # Batches of two tiny maps make batch statistics blow rounding errors up from step to step: the series is of frozen
    # norms.
    frozen, recorder = build("cascade_mask_rcnn", 0, "FrozenBN")
    frozen.load_state_dict({k: v for k, v in state(build("cascade_mask_rcnn", 0)[0]).items()}, strict=False)
    train(frozen, recorder, inputs, training, "frozen/", STEPS)
    cascade, recorder = build("cascade_mask_rcnn", 0)
    train(cascade, recorder, [inputs[0], dict(inputs[1], instances=nothing)], training, "none/", 1)
    one_stage, recorder = build("mask_rcnn", 0)
    weights.update({"mask/" + k: v for k, v in state(one_stage).items()})
    infer(one_stage, recorder, inputs, inference, "mask/")
    train(one_stage, recorder, inputs, training, "mask/", 1)

    # Less of what is large: some rows, and nothing of the other runs that says the same once more.
    for tensors in (training, inference):
        for key in list(tensors):
            run, part = key.split("/", 1)
            if part.startswith(("pooled", "mask_pooled")):
                tensors[key] = tensors[key][::9]
                if run != "cascade" or tensors is training:
                    del tensors[key]
            elif run != "cascade" and (part[:2] in ("p2", "p3", "p4", "p5", "p6") or part.startswith("rpn_")):
                del tensors[key]
            elif run == "frozen" and part != "series" and not part.startswith("sample"):
                del tensors[key]
            elif part.startswith("grad/") and (run == "none" or (run == "mask" and "roi_heads.box" not in part)):
                del tensors[key]
            elif part == "images":
                del tensors[key]
            elif run != "cascade" and part == "mask_logits":
                del tensors[key]
            elif part.startswith("detected_masks"):
                tensors[key] = tensors[key][:6]
    for key in list(weights):  # the two models differ in the box heads only
        other = "cascade/" + key[5:]
        if key.startswith("mask/") and other in weights and torch.equal(weights[key], weights[other]):
            del weights[key]
    save("rcnn_weights.safetensors", {**weights, **common})
    save("rcnn_train.safetensors", training)
    save("rcnn_test.safetensors", inference)

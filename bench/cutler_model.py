"""CutLER's detector with random weights whose scores and boxes spread, for the scripts that compare with it."""
import sys

# What starts out all alike.
SPREAD = {"objectness_logits.weight": 0.05, "anchor_deltas.weight": 0.02, "cls_score.weight": 0.05,
          "bbox_pred.weight": 0.02, "mask_head.predictor.weight": 0.3}


def settings(detectron2, cutler):
    """CutLER's configuration for training on ImageNet; the two source trees are on sys.path afterwards."""
    sys.path[:0] = [detectron2, cutler + "/cutler"]
    from config import add_cutler_config
    from detectron2.config import get_cfg
    cfg = get_cfg()
    add_cutler_config(cfg)
    cfg.merge_from_file(f"{cutler}/cutler/model_zoo/configs/CutLER-ImageNet/cascade_mask_rcnn_R_50_FPN.yaml")
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def build(detectron2, cutler):
    """Cascade Mask R-CNN on R50-FPN in training mode."""
    cfg = settings(detectron2, cutler)
    import modeling
    import torch
    torch.manual_seed(0)
    model = modeling.build_model(cfg)
    with torch.no_grad():
        for name, value in model.named_parameters():
            for end, std in SPREAD.items():
                if name.endswith(end):
                    value.normal_(0, std)
    return model

"""Golden steps of DINO's and iBOT's public code on a very small network with given weights and crops.

Usage: make_dino.py DINO IBOT [OUTPUT.safetensors]. DINO and IBOT are checkouts of facebookresearch/dino and
bytedance/ibot, whose networks, heads, losses, parameter groups, clipping and schedules run as they are. Weights and
crops are pattern()s, so that the file holds losses, gradients and what comes after ten steps. Needs torch, torchvision,
numpy and safetensors.

Cases: "dino" (fixed gain of the last layer), "free" (learned gain), "ibot" (hidden patches, shared head).
"""

import importlib
import os
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.numpy import save_file

PICTURES, LOCALS, GLOBAL_PX, LOCAL_PX, PATCH = 3, 2, 32, 16, 8
WIDTH, HEADS, DEPTH, HIDDEN, BOTTLENECK, OUT = 16, 2, 2, 24, 12, 48
STEPS, STEPS_PER_EPOCH, EPOCHS, WARMUP = 10, 3, 4, 1
RATE, LEAST_RATE, DECAY, DECAY_END, MOMENTUM, CLIP, FROZEN = 0.02, 1e-4, 0.04, 0.4, 0.9, 0.3, 1
TEMP, TEMP_END, TEMP_EPOCHS = 0.04, 0.07, 3


def pattern(shape, salt):
    index = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(1000003 * salt)
    value = (index * np.uint64(2654435761)) % np.uint64(1 << 32)
    return ((value >> np.uint64(8)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32).reshape(shape)


def module(folder, name):
    """A module of a checkout, apart from the other checkout's of the same name."""
    for known in ("utils", "models", "vision_transformer", "main_dino", "loader", "evaluation"):
        for loaded in [m for m in sys.modules if m == known or m.startswith(known + ".")]:
            del sys.modules[loaded]
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def set_weights(model):
    """Patterns by the place of a name among all; norms around 1, the last layer's gain as it is (1)."""
    for salt, name in enumerate(sorted(n for n, _ in model.named_parameters())):
        p = dict(model.named_parameters())[name]
        if name.endswith("weight_g"):
            continue
        scale = 0.6 if name.endswith("weight_v") or "mlp" in name or "qkv" in name else 0.25
        values = pattern(tuple(p.shape), salt + 1) * np.float32(scale)
        if "norm" in name and name.endswith("weight"):
            values = values + np.float32(1)
        p.data.copy_(torch.from_numpy(values))


def crops_of(step):
    sides = [GLOBAL_PX] * 2 + [LOCAL_PX] * LOCALS
    return [torch.from_numpy(pattern((PICTURES, 3, s, s), 1000 + 10 * step + i) * np.float32(2)) for i, s in
            enumerate(sides)]


def masks_of(step):
    """Hidden patches of the two globals; none of the second picture's first one."""
    side = GLOBAL_PX // PATCH
    masks = [torch.from_numpy(pattern((PICTURES, side, side), 2000 + 10 * step + i) > 0.3) for i in range(2)]
    masks[0][1] = False
    return masks


def run(out, case, utils, student, teacher, loss_of):
    set_weights(student)
    common = dict(teacher.named_parameters())
    for name, p in student.named_parameters():
        if name in common:
            common[name].data.copy_(p.data)
    teacher.requires_grad_(False)
    optimizer = torch.optim.AdamW(utils.get_params_groups(student))
    schedules = [utils.cosine_scheduler(RATE, LEAST_RATE, EPOCHS, STEPS_PER_EPOCH, warmup_epochs=WARMUP),
                 utils.cosine_scheduler(DECAY, DECAY_END, EPOCHS, STEPS_PER_EPOCH),
                 utils.cosine_scheduler(MOMENTUM, 1, EPOCHS, STEPS_PER_EPOCH)]
    losses = []
    for step in range(STEPS):
        rate, decay, momentum = (s[step] for s in schedules)
        for i, group in enumerate(optimizer.param_groups):
            group["lr"] = rate
            if i == 0:
                group["weight_decay"] = decay
        epoch = step // STEPS_PER_EPOCH
        parts = loss_of(step, epoch)
        losses.append([float(p) for p in parts])
        optimizer.zero_grad()
        sum(parts).backward()
        if step == 0:
            for name, p in student.named_parameters():
                if p.grad is not None:
                    out[f"{case}/grad/{name}"] = p.grad.detach().numpy().copy()
        utils.clip_gradients(student, CLIP)
        utils.cancel_gradients_last_layer(epoch, student, FROZEN)
        optimizer.step()
        with torch.no_grad():
            for name, p in student.named_parameters():
                if name in common:
                    common[name].data.mul_(momentum).add_((1 - momentum) * p.detach().data)
    out[f"{case}/losses"] = np.array(losses)
    for name in ("backbone.pos_embed", "backbone.blocks.1.attn.proj.bias", "head.last_layer.weight_v",
                 "head.last_layer.weight_g"):
        out[f"{case}/teacher/{name}"] = dict(teacher.named_parameters())[name].detach().numpy().copy()
    if case == "dino":
        for i, name in enumerate(("rate", "decay", "momentum")):
            out[f"schedule/{name}"] = np.asarray(schedules[i], dtype=np.float64)


def dino_case(out, folder, case, fixed_gain):
    main = module(folder, "main_dino")
    vits, utils = main.vits, main.utils

    def wrapped(fixed):
        backbone = vits.VisionTransformer(
            img_size=[GLOBAL_PX], patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, qkv_bias=True,
            norm_layer=lambda d: torch.nn.LayerNorm(d, eps=1e-6))
        head = vits.DINOHead(WIDTH, OUT, norm_last_layer=fixed, hidden_dim=HIDDEN, bottleneck_dim=BOTTLENECK)
        return utils.MultiCropWrapper(backbone, head)

    student, teacher = wrapped(fixed_gain), wrapped(True)
    criterion = main.DINOLoss(OUT, 2 + LOCALS, TEMP, TEMP_END, TEMP_EPOCHS, EPOCHS)

    def loss_of(step, epoch):
        crops = crops_of(step)
        return [criterion(student(crops), teacher(crops[:2]), epoch)]

    run(out, case, utils, student, teacher, loss_of)
    out[f"{case}/centre"] = criterion.center[0].numpy().copy()


def ibot_case(out, folder):
    for name in ("tensorboardX", "loader", "evaluation", "evaluation.unsupervised", "evaluation.unsupervised.unsup_cls"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["tensorboardX"].SummaryWriter = None
    sys.path.insert(0, folder)
    for known in ("utils", "models"):
        sys.modules.pop(known, None)
    sys.modules["loader"].ImageFolderMask = None
    sys.modules["evaluation.unsupervised.unsup_cls"].eval_pred = None
    main = importlib.import_module("main_ibot")
    vits = importlib.import_module("models.vision_transformer")
    utils = main.utils

    def wrapped(masked):
        backbone = vits.VisionTransformer(
            img_size=[GLOBAL_PX], patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, qkv_bias=True,
            return_all_tokens=True, masked_im_modeling=masked)
        head = main.iBOTHead(WIDTH, OUT, patch_out_dim=OUT, shared_head=True, hidden_dim=HIDDEN,
                             bottleneck_dim=BOTTLENECK)
        return utils.MultiCropWrapper(backbone, head)

    student, teacher = wrapped(True), wrapped(False)
    criterion = main.iBOTLoss(OUT, OUT, 2, LOCALS, TEMP, TEMP_END, TEMP, TEMP_END, TEMP_EPOCHS, EPOCHS)

    def loss_of(step, epoch):
        crops, masks = crops_of(step), masks_of(step)
        taught = teacher(crops[:2])
        said = student(crops[:2], mask=masks)
        student.backbone.masked_im_modeling = False
        local = student(crops[2:])[0]
        student.backbone.masked_im_modeling = True
        losses = criterion(said, taught, local, masks, epoch)
        return [losses["cls"], losses["patch"]]

    run(out, "ibot", utils, student, teacher, loss_of)
    out["ibot/centre"] = criterion.center[0].numpy().copy()
    out["ibot/patch_centre"] = criterion.center2[0, 0].numpy().copy()


def main():
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    dist.init_process_group("gloo", rank=0, world_size=1)
    torch.set_num_threads(1)
    out = {}
    dino_case(out, sys.argv[1], "dino", True)
    dino_case(out, sys.argv[1], "free", False)
    ibot_case(out, sys.argv[2])
    for name in [n for n in out if n.startswith(("free/grad", "ibot/grad"))]:  # what differs from the first case
        if not name.endswith(("weight_g", "masked_embed", "head.mlp.4.weight", "backbone.norm.weight")):
            del out[name]
    path = sys.argv[3] if len(sys.argv) > 3 else str(Path(__file__).parent / "dino.safetensors")
    versions = {name: version(name) for name in ("torch", "numpy")}
    for name, folder in (("facebookresearch/dino", sys.argv[1]), ("bytedance/ibot", sys.argv[2])):
        commit = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        versions[name] = commit.stdout.strip() or "unknown"
    save_file(out, path, metadata=versions)
    print(path, versions, {n: v.tolist() for n, v in out.items() if n.endswith("losses")})


if __name__ == "__main__":
    main()

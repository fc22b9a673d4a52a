#!/usr/bin/env python3
"""Writes weights_<torch version>.bin: files of weights as PyTorch, NumPy and their users write them, and broken and
malicious ones, as a bundle (tests/support/bundle.h).

usage: make_weights.py OUTPUT_FOLDER        (once with an old and once with a new PyTorch)

Beside each file "x" the bundle holds "x.expected" (safetensors: what a reader must give) or "x.error" (a part of the
error text). All values are made up; the layouts are those of the official files.
"""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
         torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
WIDENED = {torch.int8: torch.int32, torch.int16: torch.int32}
if hasattr(torch, "uint16"):
    WIDENED[torch.uint16] = torch.int32
    WIDENED[torch.uint32] = torch.int64

files = {}


def safetensors(tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        tensor = torch.as_tensor(tensor).detach()
        tensor = tensor.to(WIDENED.get(tensor.dtype, tensor.dtype)).contiguous()
        raw = bytes(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def saved(obj, legacy=False, **options):
    stream = io.BytesIO()
    torch.save(obj, stream, _use_new_zipfile_serialization=not legacy, **options)
    return stream.getvalue()


def good(name, obj, expected, pickled=None):
    """`obj` through torch.save in both containers, or already as bytes."""
    if pickled is not None:
        files[name] = pickled
        files[name + ".expected"] = safetensors(expected)
        return
    for container in ("zip", "legacy"):
        good(f"{container} {name}", None, expected, saved(obj, container == "legacy"))


def bad(name, data, error):
    files[name] = data
    files[name + ".error"] = error.encode()


def rezip(data, change, method=zipfile.ZIP_STORED):
    """A zip with some entries replaced (or removed: None)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", method) as new:
        for entry in old.infolist():
            content = old.read(entry)
            for ending, replacement in change.items():
                if entry.filename.endswith(ending):
                    content = replacement
            if content is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), content, method)
    return stream.getvalue()


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def tensor_call(size, stride, offset=0, storage=None):
    storage = storage if storage is not None else torch.arange(6, dtype=torch.float32)
    typed = storage.storage() if not hasattr(storage, "_typed_storage") else storage._typed_storage()
    return Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, collections.OrderedDict())


def vit(prefix="", width=8, depth=1, patch=2, grid=2, hidden=12, registers=0, layer_scale=False, swiglu=False):
    generator = torch.Generator().manual_seed(1)

    def make(*shape):
        return torch.randn(*shape, generator=generator).half().float()  # few distinct bits: compresses well in git

    d = collections.OrderedDict()
    d["cls_token"] = make(1, 1, width)
    d["pos_embed"] = make(1, grid * grid + 1, width)
    if registers:
        d["register_tokens"] = make(1, registers, width)
    if layer_scale:
        d["mask_token"] = make(1, width)
    d["patch_embed.proj.weight"] = make(width, 3, patch, patch)
    d["patch_embed.proj.bias"] = make(width)
    for i in range(depth):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            d[b + norm + ".weight"], d[b + norm + ".bias"] = make(width), make(width)
        d[b + "attn.qkv.weight"], d[b + "attn.qkv.bias"] = make(3 * width, width), make(3 * width)
        d[b + "attn.proj.weight"], d[b + "attn.proj.bias"] = make(width, width), make(width)
        if layer_scale:
            d[b + "ls1.gamma"], d[b + "ls2.gamma"] = make(width), make(width)
        if swiglu:
            d[b + "mlp.w12.weight"], d[b + "mlp.w12.bias"] = make(2 * hidden, width), make(2 * hidden)
            d[b + "mlp.w3.weight"], d[b + "mlp.w3.bias"] = make(width, hidden), make(width)
        else:
            d[b + "mlp.fc1.weight"], d[b + "mlp.fc1.bias"] = make(hidden, width), make(hidden)
            d[b + "mlp.fc2.weight"], d[b + "mlp.fc2.bias"] = make(width, hidden), make(width)
    d["norm.weight"], d["norm.bias"] = make(width), make(width)
    return collections.OrderedDict((prefix + k, v) for k, v in d.items())


def head(prefix):
    return {prefix + "mlp.0.weight": torch.ones(4, 8), prefix + "last_layer.weight_g": torch.ones(4, 1)}


def make_good():
    dtypes = "float32 float16 bfloat16 float64 int64 int32 int16 int8 uint8".split()
    every = {name: torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in dtypes}
    every["negative"] = torch.tensor([-1, -128, 127], dtype=torch.int8)
    every["bool"] = torch.tensor([True, False, True])
    every["scalar"] = torch.tensor(2.5)
    every["empty"] = torch.zeros(0, 4)
    good("dtypes", every, every)

    base = torch.arange(24, dtype=torch.float32)
    views = {"base": base, "transposed": base.reshape(4, 6).t(), "slice": base[5:17:3], "offset": base[20:],
             "expanded": base[3:4].expand(5), "permuted": base.reshape(2, 3, 4).permute(2, 0, 1), "none": base[24:],
             "empty rows": base.reshape(4, 6)[4:]}
    good("views", views, views)

    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm2d(2))
    parameters = {"list": None, "p": torch.nn.Parameter(torch.ones(3)), **layer.state_dict()}
    good("parameters and module", parameters, {k: v for k, v in parameters.items() if v is not None})
    marked = torch.arange(3.0)
    marked.note = "an attribute"
    if torch.__version__ >= "1.13":
        good("attribute", {"x": marked}, {"x": marked})
    for protocol in (3, 4, 5):
        good(f"zip protocol {protocol}", None, every, saved(every, pickle_protocol=protocol))
        good(f"legacy protocol {protocol}", None, every, saved(every, True, pickle_protocol=protocol))
    good("nested", {"a": {"b": {"c": base}}, "d": base[:2]}, {"a.b.c": base, "d": base[:2]})
    if hasattr(torch, "uint16"):
        unsigned = {"u2": torch.tensor([0, 65535], dtype=torch.uint16), "u4": torch.tensor([4294967295], dtype=torch.uint32)}
        good("zip unsigned", None, unsigned, saved(unsigned))

    # The official files.
    good("dino flat", vit(), vit())
    args = argparse.Namespace(arch="vit_small", patch_size=4, lr=5e-4, use_fp16=True, seed=0, output_dir=Path("/out"),
                              device=torch.device("cuda", 0), sizes=[1, 2], momentum_teacher=None)
    teacher = {**vit("backbone."), **head("head.")}
    student = {**vit("module.backbone."), **head("module.head.")}
    for value in student.values():
        value += 1
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    full = {"student": student, "teacher": teacher, "optimizer": optimizer.state_dict(), "epoch": 100, "args": args,
            "dino_loss": {"center": torch.zeros(1, 4)}, "fp16_scaler": {"scale": 65536.0, "growth_factor": 2.0}}
    good("dino full", full, vit())
    dinov2 = vit(registers=4, layer_scale=True, swiglu=True)
    good("dinov2", dinov2, dinov2)
    resnet = {"conv1.weight": torch.ones(4, 3, 7, 7), "bn1.running_mean": torch.zeros(4), "fc.weight": torch.ones(2, 4),
              "bn1.num_batches_tracked": torch.tensor(7)}
    moco = {"epoch": 200, "arch": "resnet50", "optimizer": optimizer.state_dict(), "state_dict": collections.OrderedDict(
        [("module.encoder_q." + k, v) for k, v in resnet.items()] +
        [("module.encoder_k." + k, v) for k, v in resnet.items()] +
        [("module.queue", torch.ones(3, 4)), ("module.queue_ptr", torch.zeros(1, dtype=torch.int64))])}
    good("moco", moco, resnet)
    detector = {"backbone.bottom_up.stem.conv1.weight": torch.ones(2, 3, 1, 1), "proposal_generator.x": torch.ones(1),
                "roi_heads.box_head.0.fc1.weight": torch.ones(2, 2)}
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 20]).state_dict()
    good("detectron2", {"model": detector, "optimizer": optimizer.state_dict(), "scheduler": schedule, "iteration": 9},
         detector)

    # Detectron2's model zoo: pickles of NumPy arrays.
    arrays = {"stem.conv1.weight": np.arange(12, dtype="f4").reshape(3, 4), "half": np.arange(3, dtype="f2"),
              "double": np.arange(3, dtype="f8"), "count": np.array(7), "bytes": np.arange(3, dtype="u1"),
              "fortran": np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)), "short": np.arange(3, dtype="i2"),
              "flags": np.array([True, False]), "big-endian": np.arange(3, dtype=">f4"), "empty": np.zeros((0, 2), "f4")}
    expected = {k: torch.from_numpy(np.ascontiguousarray(v.astype(v.dtype.newbyteorder("=")))).reshape(v.shape)
                for k, v in arrays.items()}
    zoo = {"model": arrays, "__author__": "third_party", "matching_heuristics": True, "scale": np.float32(3)}
    for protocol in range(6):
        good(f"pickle protocol {protocol}", None, expected, pickle.dumps(zoo, protocol))

    # Python 2 wrote str as BINSTRING; NumPy's bytes too.
    def short(text):
        return b"U" + bytes([len(text)]) + text
    python2 = (b"\x80\x02}(" + short(b"w") + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" +
               short(b"b") + b"tR(K\x01K\x02\x85cnumpy\ndtype\n(" + short(b"f4") + b"K\x00K\x01tR(K\x03" + short(b"<") +
               b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + short(struct.pack("<2f", 1.5, -2)) + b"tbu.")
    good("pickle of Python 2", None, {"w": torch.tensor([1.5, -2])}, python2)
    # Old-style and protocol 0 objects, Unicode escapes, every spelling of integers.
    text = (b"(dp0\nV\\u00e9\\U0001F600\xe8\np1\nL-5L\nsS'q\\x41\\n\\''\nI01\nsS\"r\"\nF1.5\nsVargs\n(iargparse\nNamespace\n"
            b"(dVlr\nI3\nsbsVm\n" + pickle.dumps({"w": np.ones(2, "f4")}, 0)[:-1] + b"s.")
    good("pickle text", None, {"m.w": torch.ones(2)}, text)


def make_bad():
    weights = {"w": torch.arange(6.0)}
    forbidden = "which is not on the list"
    module = os.system.__module__
    attacks = {"os.system": (Call(os.system, "echo pwned > /tmp/pwned"), f"'{module}.system', {forbidden}"),
               "eval": (Call(eval, "1+1"), f".eval', {forbidden}"),
               "getattr": (Call(getattr, "x", "upper"), f".getattr', {forbidden}"),
               "exec in settings": (argparse.Namespace(x=Call(exec, "pass")), f".exec', {forbidden}")}
    for name, (attack, error) in attacks.items():
        bad(f"bad zip {name}", saved({"w": weights["w"], "x": attack}), error)
        bad(f"bad legacy {name}", saved({"w": weights["w"], "x": attack}, True), error)
        for protocol in (0, 2, 4):
            bad(f"bad pickle {name} {protocol}", pickle.dumps({"x": attack}, protocol), error)
    bad("bad pickle INST", b"(S'echo'\nios\nsystem\n.", "byte 9: refers to 'os.system'")
    bad("bad pickle OBJ", b"(cos\nsystem\nS'echo'\no.", "byte 1: refers to 'os.system'")
    bad("bad whole module", saved(torch.nn.Linear(2, 2)), "'torch.nn.modules.linear.Linear'")

    plain = saved(weights)
    old = saved(weights, True)
    bad("bad zip no pickle", rezip(plain, {"data.pkl": None}), "data.pkl: the archive has no such entry")
    stream = io.BytesIO(rezip(plain, {"byteorder": None}))
    with zipfile.ZipFile(stream, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        archive.writestr(folder + "/byteorder", "big")
    bad("bad zip byteorder", stream.getvalue(), "byte order 'big'")
    bad("bad zip compressed", rezip(plain, {}, zipfile.ZIP_DEFLATED), "is compressed")
    bad("bad zip storage missing", rezip(plain, {"data/0": None}), "data/0: the archive has no such entry")
    bad("bad zip storage short", rezip(plain, {"data/0": b"\0" * 20}), "expected 24 bytes, got 20")
    at = plain.index(torch.arange(6.0).numpy().tobytes())
    bad("bad zip checksum", plain[:at] + b"\x01" + plain[at + 1:], "data/0: ")
    bad("bad zip pickle cut", rezip(plain, {"data.pkl": zipfile.ZipFile(io.BytesIO(plain)).read(folder + "/data.pkl")[:40]}),
        "truncated")
    stream = io.BytesIO(plain)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(folder + "/constants.pkl", b"].")
    bad("bad zip TorchScript", stream.getvalue(), "TorchScript")
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(2))
    bad("bad npz", stream.getvalue(), "none that PyTorch wrote")
    stream = io.BytesIO()
    np.save(stream, np.ones(2))
    bad("bad npy", stream.getvalue(), "a single array (.npy)")
    bad("bad jpeg", b"\xff\xd8\xff\xe0" + bytes(40), "neither safetensors nor")
    bad("bad tar", bytes(257) + b"ustar" + bytes(300), "0.1.10")
    bad("bad legacy big-endian", old.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian")
    bad("bad tensor alone", saved(torch.ones(2)), "a single tensor")
    bad("bad no tensors", saved({"epoch": 3, "names": ["a"]}), "no tensors in {epoch, names}")
    if hasattr(torch, "uint16"):
        bad("bad u8", saved({"w": torch.tensor([1], dtype=torch.uint64)}), "torch.uint64 are not supported")
    complex64 = saved({"w": torch.ones(2, dtype=torch.complex64)})
    bad("bad complex", complex64, "'torch.ComplexFloatStorage'")

    shapes = {"larger": ((7,), (1,)), "rows": ((2, 4), (3, 1)), "stride": ((2,), (6,)), "offset": ((2,), (1,), 5),
              "offset far": ((0,), (1,), 7), "negative size": ((-1,), (1,)), "negative stride": ((2,), (-1,), 3),
              "negative offset": ((1,), (1,), -1), "overflow": ((2 ** 40, 2 ** 40), (2 ** 40, 1)),
              "stride overflow": ((3, 3), (2 ** 62, 2 ** 62)), "ranks": ((2, 3), (1,)), "nine": ((1,) * 9, (1,) * 9),
              "repeated": ((2 ** 40,), (0,))}
    errors = {"offset far": "leaves its storage of 6", "negative size": "negative size", "overflow": "too large",
              "negative stride": "negative size or stride", "negative offset": "offset -1 leaves", "ranks": "differ in length",
              "nine": "at most 8 dimensions", "repeated": "many times larger than the file"}
    for name, arguments in shapes.items():
        for container in ("zip", "legacy"):
            bad(f"bad {container} shape {name}", saved({"w": tensor_call(*arguments)}, container == "legacy"),
                errors.get(name, "leave their storage of 6"))

    # Hostile pickles: deep, circular, doubling, multiplying.
    bad("bad deep", b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".", "a dict of tensors is expected")
    bad("bad circle", b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.", "no tensors")
    doubling, wide = {}, {}
    for _ in range(60):
        doubling = {"a": doubling, "b": doubling}
    for _ in range(8):
        wide = {str(i): wide for i in range(50)} if wide else {"w": np.ones(1)}
    bad("bad doubling", pickle.dumps(doubling, 2), "no tensors in {a, b}")
    bad("bad wide", pickle.dumps(wide, 2), "too many entries")
    encode = b"\x80\x02c_codecs\nencode\nq\x00X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x01X\x06\x00\x00\x00latin1q\x02" + \
        b"\x87q\x03]" + (b"h\x00h\x01h\x02\x86Ra" * 4000) + b"\x86."
    bad("bad encode", encode, "copies more than its size allows")
    bad("bad memo", b"\x80\x02h\x05.", "memo 5 was never stored")
    bad("bad opcode", b"\x80\x02\xff.", "byte 2: opcode 0xff")
    bad("bad protocol", b"\x80\x09N.", "newer than 5")
    bad("bad underflow", b"\x80\x02\x86.", "byte 2: the stack is too short")
    bad("bad below mark", b"\x80\x02N(\x85.", "the stack is too short")
    bad("bad string length", b"\x80\x02X\xff\xff\xff\xffab.", "needs 4294967295 more bytes")
    bad("bad bytes length", b"\x80\x04\x8e" + b"\xff" * 8 + b"ab.", "more bytes")
    bad("bad extension", b"\x80\x02\x82\x01.", "extension codes")
    bad("bad append", b"\x80\x02}Na.", "appends to something that is no list")
    bad("bad odd items", b"\x80\x02}(NNNu.", "a key without a value")
    bad("bad build", b"\x80\x02]Nb.", "sets the state of a plain value")
    bad("bad empty", b"", "the file is empty")


def main(folder):
    make_good()
    make_bad()
    name = "weights_" + torch.__version__.split("+")[0] + ".bin"
    with open(Path(folder) / name, "wb") as out:
        for key, data in files.items():
            out.write(struct.pack("<II", len(key), len(data)) + key.encode() + data)
    print("torch", torch.__version__, "numpy", np.__version__, len(files), "entries", name)


if __name__ == "__main__":
    main(sys.argv[1])

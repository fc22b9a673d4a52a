#!/usr/bin/env python3
"""Writes foreign_pickles.bin: PyTorch checkpoints that hold objects of other programs beside plain tensors, as a bundle
(tests/support/bundle.h). Plain Python: neither PyTorch nor those programs are needed, their classes are made up here
with the same module, name, base and way of pickling.

usage: make_foreign_pickles.py OUTPUT_FOLDER

Each holds a vit of one tensor, "norm.weight" = [1, 2, 3], where a reader looks for it. Names ending in ".error" are what
the error must say instead.
"""
import argparse
import collections
import copyreg
import datetime
import decimal
import enum
import functools
import io
import operator
import pathlib
import pickle
import struct
import sys
import types
import uuid
import zipfile

files = {}


def made_class(module, name, base=object, **members):
    path = ""
    for part in module.split("."):
        path = f"{path}.{part}" if path else part
        sys.modules.setdefault(path, types.ModuleType(path))
    cls = type(name, (base,), {"__module__": module, **members})
    setattr(sys.modules[module], name, cls)
    return cls


def made_function(module, name):
    def function(*arguments):
        pass
    function.__module__, function.__name__, function.__qualname__ = module, name, name
    made_class(module, "unused")
    setattr(sys.modules[module], name, function)
    return function


FloatStorage = made_class("torch", "FloatStorage")
rebuild = made_function("torch._utils", "_rebuild_tensor_v2")
rebuild_sparse = made_function("torch._utils", "_rebuild_sparse_tensor")
numpy_scalar = made_function("numpy.core.multiarray", "scalar")
numpy_dtype = made_class("numpy", "dtype")


class Reduced:
    """Pickles as a call."""
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


class Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        return ("storage", FloatStorage, obj.key, "cpu", obj.count) if isinstance(obj, Storage) else None


def tensor(key="0"):
    return Reduced(rebuild, Storage(key, 3), 0, (3,), (1,), False, collections.OrderedDict())


def saved(obj, protocol=2):
    stream, archive = io.BytesIO(), io.BytesIO()
    Pickler(stream, protocol).dump(obj)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, data in (("data.pkl", stream.getvalue()), ("data/0", struct.pack("<3f", 1, 2, 3)), ("version", b"3\n")):
            out.writestr(zipfile.ZipInfo("a/" + name), data)
    return archive.getvalue()


def seed(name, obj):
    """A pickle without its container, for the fuzzer to start from."""
    for protocol in range(6):
        stream = io.BytesIO()
        Pickler(stream, protocol).dump(obj)
        files[f"seed {name} {protocol}"] = stream.getvalue()


def good(name, make):
    for protocol in range(1, 6):  # protocol 0 has no tuples for the storages' ids
        files[f"{name} {protocol}"] = saved(make(), protocol)


def bad(name, obj, error, protocol=2):
    files[name] = saved(obj, protocol)
    files[name + ".error"] = error.encode()


class Level(enum.Enum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


Level.__module__ = Flags.__module__ = "their.settings"
made_class("their.settings", "unused")
sys.modules["their.settings"].Level, sys.modules["their.settings"].Flags = Level, Flags
AttributeDict = made_class("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
ConfigDict = made_class("mmengine.config.config", "ConfigDict", dict)
HistoryBuffer = made_class("mmengine.logging.history_buffer", "HistoryBuffer")
DictConfig = made_class("omegaconf.dictconfig", "DictConfig")
AnyNode = made_class("omegaconf.nodes", "AnyNode")
Metadata = made_class("omegaconf.base", "ContainerMetadata")
Names = made_class("their.lists", "Names", list)
Order = made_class("their.dicts", "Order", collections.OrderedDict)
Outer = made_class("their.nested", "Outer")
Outer.Inner = type("Inner", (), {"__module__": "their.nested", "__qualname__": "Outer.Inner"})
Linear = made_class("torch.nn.modules.linear", "Linear")


def with_attributes(obj, **attributes):
    obj.__dict__.update(attributes)
    return obj


def attributes_of(cls, **attributes):
    return with_attributes(cls.__new__(cls), **attributes)


def module(**parameters):
    return attributes_of(Linear, _parameters=collections.OrderedDict(parameters), _buffers={}, _modules={}, training=True)


def history():
    buffer = attributes_of(HistoryBuffer, _max_length=1000, _statistics_methods={"mean": 1})
    buffer.values = Reduced(numpy_scalar, Reduced(numpy_dtype, "f8", 0, 1), b"\0" * 8)
    return buffer


def omegaconf():
    node = attributes_of(AnyNode, _val=3, _metadata=attributes_of(Metadata, ref_type=object, optional=True))
    return attributes_of(DictConfig, _content={"lr": node}, _parent=None, _flags_cache=collections.defaultdict(dict))


def odds_and_ends():
    return [Level.LOW, Flags.A | Flags.B, datetime.datetime(2024, 1, 2, 3), datetime.timedelta(1), decimal.Decimal("1.5"),
            uuid.UUID(int=5), pathlib.PurePosixPath("/a/b"), argparse.Namespace(x=Level.LOW), range(3), {1, 2}, frozenset({3}),
            collections.deque([1, 2], 5), collections.Counter("aab"), functools.partial(print, 1), operator.itemgetter(1),
            attributes_of(Outer.Inner, y=1), with_attributes(Names(["a", "b"]), z=1), Order(a=1), Outer, ValueError("x", 3),
            complex(1, 2), bytearray(b"abc"), types.SimpleNamespace(a=1)]


def make_good():
    good("lightning", lambda: {"state_dict": {"norm.weight": tensor()}, "hyper_parameters":
                               with_attributes(AttributeDict(lr=0.5, arch="vit"), extra=1), "epoch": 3})
    good("mmengine", lambda: {"meta": {"cfg": "x"}, "state_dict": {"norm.weight": tensor()},
                              "message_hub": {"log_scalars": {"loss": history()}}, "cfg": ConfigDict(model=ConfigDict(a=1))})
    good("omegaconf", lambda: {"teacher": {"backbone.norm.weight": tensor()}, "cfg": omegaconf(), "iteration": 7})
    good("odds and ends", lambda: {"model": {"norm.weight": tensor()}, "rest": odds_and_ends()})
    good("beside the tensors", lambda: {"norm.weight": tensor(), "when": datetime.date(2024, 1, 2), "level": Level.LOW})
    good("inside a foreign dict", lambda: {"model": Order([("norm.weight", tensor())]), "x": AttributeDict(a=1)})
    good("a foreign dict alone", lambda: ConfigDict({"norm.weight": tensor()}))
    good("a module beside", lambda: {"state_dict": {"norm.weight": tensor()}, "callback": module(weight=tensor())})
    seed("odds and ends", odds_and_ends())
    seed("settings", {"lightning": with_attributes(AttributeDict(lr=0.5), extra=1), "omegaconf": omegaconf(),
                      "mmengine": history(), "module": module(weight=tensor())})
    # Names of training programs, to choose from.
    good("nested", lambda: {"run": {"nets": {"ema.norm.weight": tensor(), "raw.norm.weight": tensor()}}, "epoch": 1})


def make_bad():
    bad("bad whole model", module(weight=tensor()), "a whole model (an object of 'torch.nn.modules.linear.Linear')")
    bad("bad model entry", {"model": module(weight=tensor()), "epoch": 1}, "'model' is a whole model")
    bad("bad module elsewhere", {"net": module(weight=tensor())}, "needs the program that made it")
    bad("bad object", attributes_of(DictConfig, a=1), "holds an object of 'omegaconf.dictconfig.DictConfig'")
    bad("bad sparse", {"a": tensor(), "b": Reduced(rebuild_sparse, 0, (tensor(), tensor(), (3,)))},
        "tensor 'b' is of a kind that is not supported ('torch._utils._rebuild_sparse_tensor')")
    # What would do something, however it is reached, and however deep it lies among harmless objects.
    for module_name, name in (("subprocess", "Popen"), ("webbrowser", "open"), ("runpy", "run_path")):
        call = Reduced(made_function(module_name, name), "x")
        bad(f"bad {module_name}", {"norm.weight": tensor(), "x": attributes_of(DictConfig, a=[call])},
            f".{name}', which is not on the list")
    # Short files that ask for much memory: one long name again and again, a name that grows by parts.
    too_much = b"copies more than its size allows"
    names = b"\x80\x04" + b"\x8c\xff" + b"m" * 255 + b"\x940" + b"\x8c\xff" + b"n" * 255 + b"\x940"
    files["bad long names"], files["bad long names.error"] = names + b"]" + b"h\x00h\x01\x93a" * 3000 + b".", too_much
    grow = b"\x80\x04cbuiltins\ngetattr\n\x940" + b"\x8c\x20" + b"p" * 32 + b"\x940" + b"cm\nC\n\x940"
    for i in range(2, 250):
        grow += b"h\x00h" + bytes([i]) + b"h\x01\x86R\x940"
    files["bad growing name"], files["bad growing name.error"] = grow + b"N.", too_much


if __name__ == "__main__":
    make_good()
    make_bad()
    with open(pathlib.Path(sys.argv[1]) / "foreign_pickles.bin", "wb") as out:
        for key, data in files.items():
            out.write(struct.pack("<II", len(key), len(data)) + key.encode() + data)
    print("python", sys.version.split()[0], len(files), "entries")

"""A DINO ViT of random weights as a file, for timings and for results beside the CPU's. Needs no package."""
import array
import json
import random
import struct


def write(path, width=768, depth=12, patch=8, grid=28):
    """ViT-B/8 by default. Safetensors: 8 bytes of header length, the header as JSON, the data."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, grid * grid + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(depth):
        for name, shape in {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }.items():
            shapes[f"blocks.{block}.{name}"] = shape
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    # Each tensor begins elsewhere in one stretch of numbers: fast, and random enough.
    generator = random.Random(0)
    numbers = array.array("f", (0.02 * generator.gauss(0, 1) for _ in range(1 << 18))).tobytes()
    one = array.array("f", [1.0]).tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            if "norm" in name and name.endswith("weight"):
                file.write(one * (size // 4))
                continue
            first = 4 * generator.randrange(1 << 18)
            turned = numbers[first:] + numbers[:first]
            file.write((turned * (size // len(turned) + 1))[:size])

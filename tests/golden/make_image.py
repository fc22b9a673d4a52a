#!/usr/bin/env python3
"""Makes golden files of images with Pillow.

Usage: make_image.py OUTPUT_FOLDER   (needs Pillow 13, NumPy and safetensors; reads tests/pictures/)

image.safetensors: small image files of every kind and their pixels. "<case>.file" u8 [bytes]; "<case>.rgb" u8 [H, W, 3]
by convert("RGB"); "<case>.turned" u8 after ImageOps.exif_transpose where that differs.
resize.safetensors: "<filter>_<H>x<W>x<C>_to_<h>x<w>" u8 [h, w, C], the resized noise(H, W, C), horizontal pass first as
in Pillow before 13; the same with "_13" where Pillow 13's own order gives something else.
The metadata names the versions used.
"""
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import safetensors
import safetensors.numpy
from PIL import Image, ImageOps, features

PICTURES = Path(__file__).resolve().parent.parent / "pictures"


def picture(name, width, height):
    return Image.open(PICTURES / name).convert("RGB").resize((width, height), Image.LANCZOS)


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


# ---- JPEG ------------------------------------------------------------------------------------------------------------
def jpeg_cases():
    rgb = picture("coffee.jpg", 37, 23)
    cases = {
        "jpeg_420": saved(rgb, "JPEG", subsampling=2),
        "jpeg_422": saved(rgb, "JPEG", subsampling=1),
        "jpeg_444": saved(rgb, "JPEG", subsampling=0, quality=95),
        "jpeg_progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg_restart": saved(rgb, "JPEG", restart_marker_blocks=2),
        "jpeg_rough": saved(rgb, "JPEG", quality=3),
        "jpeg_grey": saved(rgb.convert("L"), "JPEG"),
        "jpeg_grey_progressive": saved(rgb.convert("L"), "JPEG", progressive=True),
        "jpeg_rgb": saved(rgb, "JPEG", keep_rgb=True),
        "jpeg_one_pixel": saved(rgb.crop((3, 4, 4, 5)), "JPEG"),
        "jpeg_one_row": saved(rgb.crop((0, 4, 37, 5)), "JPEG"),
        "jpeg_one_column": saved(rgb.crop((7, 0, 8, 23)), "JPEG"),
    }
    # Sampling 1x2 (a 4:2:2 picture turned): same number of blocks, other sampling factors in the frame header.
    square = bytearray(saved(rgb.resize((32, 32)), "JPEG", subsampling=1))
    frame = square.index(b"\xff\xc0")
    assert square[frame + 11] == 0x21
    square[frame + 11] = 0x12
    cases["jpeg_440"] = bytes(square)

    inks = np.random.default_rng(1).integers(0, 256, (3, 4, 4), np.uint8)
    cmyk = Image.fromarray(inks, "CMYK").resize((37, 23), Image.BICUBIC)
    data = saved(cmyk, "JPEG", quality=90)
    cases["jpeg_cmyk"] = data
    adobe = data.index(b"Adobe")
    assert data[adobe + 11] == 0
    cases["jpeg_ycck"] = data[: adobe + 11] + b"\x02" + data[adobe + 12 :]  # the same inks read as YCCK

    small = picture("rocket.jpg", 11, 7)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        cases[f"jpeg_exif_{orientation}"] = saved(small, "JPEG", quality=95, subsampling=0, exif=exif)
    big_endian = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    cases["jpeg_exif_big_endian"] = saved(small, "JPEG", exif=big_endian)
    cases["jpeg_exif_of_9"] = saved(small, "JPEG", exif=b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 9, 0, 0))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    cases["jpeg_xmp"] = saved(small, "JPEG", xmp=xmp)
    exif = Image.Exif()
    exif[0x0112] = 3
    cases["jpeg_exif_before_xmp"] = saved(small, "JPEG", exif=exif, xmp=xmp)
    return cases


# ---- PNG -------------------------------------------------------------------------------------------------------------
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_rows(samples, depth):
    """samples: integers [H, W, C] -> bytes of the filtered scanlines (filters 0..4 in turn)."""
    height, width, channels = samples.shape
    unit = max(1, channels * depth // 8)
    out, above = b"", None
    for y in range(height):
        flat = samples[y].reshape(-1)
        if depth == 16:
            row = flat.astype(">u2").tobytes()
        elif depth == 8:
            row = flat.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in flat)
            bits += "0" * (-len(bits) % 8)
            row = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        above = above or bytes(len(row))
        filtered = bytearray()
        kind = y % 5
        for i, value in enumerate(row):
            left = row[i - unit] if i >= unit else 0
            up = above[i]
            corner = above[i - unit] if i >= unit else 0
            if kind == 4:
                p = left + up - corner
                guess = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
            else:
                guess = [0, left, up, (left + up) // 2][kind]
            filtered.append((value - guess) & 255)
        out += bytes([kind]) + bytes(filtered)
        above = row
    return out


def png(samples, depth, colour, interlaced=False, before=b"", after=b""):
    height, width, _ = samples.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [samples]
    rows = b"".join(packed_rows(part, depth) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(rows)
    middle = len(data) // 2  # two IDAT chunks
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", data[:middle])
            + chunk(b"IDAT", data[middle:]) + after + chunk(b"IEND", b""))


def png_cases():
    random = np.random.default_rng(2)
    cases = {}
    for colour, kind, channels in [(0, "grey", 1), (2, "rgb", 3), (4, "grey_alpha", 2), (6, "rgba", 4)]:
        for depth in (1, 2, 4, 8, 16) if colour == 0 else (8, 16):
            for interlaced in (False, True):
                samples = random.integers(0, 2**depth, (9, 13, channels))
                name = f"png_{kind}_{depth}" + ("_interlaced" if interlaced else "")
                cases[name] = png(samples, depth, colour, interlaced)
    for depth in (1, 2, 4, 8):
        palette = chunk(b"PLTE", random.integers(0, 256, 3 * 2**depth, np.uint8).tobytes())
        samples = random.integers(0, 2**depth, (9, 13, 1))
        cases[f"png_palette_{depth}"] = png(samples, depth, 3, depth == 4, palette)
    alpha = chunk(b"tRNS", bytes(range(0, 256, 64)))
    cases["png_palette_transparent"] = png(samples, 8, 3, False, palette + alpha)
    cases["png_rgb_transparent"] = png(random.integers(0, 2, (9, 13, 3)), 8, 2, False, chunk(b"tRNS", b"\0\1\0\0\0\1"))
    cases["png_grey_transparent"] = png(random.integers(0, 4, (9, 13, 1)), 8, 0, False, chunk(b"tRNS", b"\0\1"))
    small = random.integers(0, 256, (5, 8, 3))
    turn = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    cases["png_exif"] = png(small, 8, 2, False, chunk(b"eXIf", turn))
    cases["png_exif_last"] = png(small, 8, 2, False, b"", chunk(b"eXIf", turn))
    cases["png_one_pixel"] = png(small[:1, :1], 8, 2)
    return cases


# ---- the others ------------------------------------------------------------------------------------------------------
def bmp(width, height, bits, pixels, masks=None, palette=b""):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 3 if masks else 0, 0, 0, 0, len(palette) // 4, 0)
    extra = struct.pack("<III", *masks) if masks else b""
    offset = 14 + len(header) + len(extra) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + header + extra + palette + pixels


def other_cases():
    random = np.random.default_rng(3)
    rgb = picture("raccoon.jpg", 21, 14)
    grey, indexed = rgb.convert("L"), rgb.quantize(16)
    words = random.integers(0, 2**16, (6, 8)).astype("<u2").tobytes()
    palette = random.integers(0, 256, (16, 4), np.uint8).tobytes()
    nibbles = random.integers(0, 256, (5, 8), np.uint8).tobytes()
    cases = {
        "bmp_rgb": saved(rgb, "BMP"),
        "bmp_rgba": saved(rgb.convert("RGBA"), "BMP"),
        "bmp_grey": saved(grey, "BMP"),
        "bmp_palette": saved(indexed, "BMP"),
        "bmp_1": saved(rgb.convert("1"), "BMP"),
        "bmp_4": bmp(13, 5, 4, nibbles, palette=palette),
        "bmp_top_down": bmp(8, -6, 24, random.integers(0, 256, (6, 24), np.uint8).tobytes()),
        "bmp_555": bmp(8, 6, 16, words),
        "bmp_565": bmp(8, 6, 16, words, masks=(0xF800, 0x07E0, 0x001F)),
        "gif": saved(indexed, "GIF"),
        "gif_grey": saved(grey, "GIF"),
        "gif_interlaced": saved(rgb.quantize(200), "GIF", interlace=1),
        "gif_transparent": saved(indexed, "GIF", transparency=3),
        "gif_frames": saved(indexed, "GIF", save_all=True, append_images=[indexed.rotate(180), indexed]),
        "tga_rgb": saved(rgb, "TGA"),
        "tga_rgba": saved(rgb.convert("RGBA"), "TGA"),
        "tga_rle": saved(rgb.quantize(4).convert("RGB"), "TGA", compression="tga_rle"),
        "tga_grey": saved(grey, "TGA"),
        "tga_palette": saved(indexed, "TGA"),
        "tga_top_down": saved(rgb, "TGA", orientation=1),
        "ppm": saved(rgb, "PPM"),
        "pgm": saved(grey, "PPM"),
    }
    planes = np.asarray(rgb).transpose(2, 0, 1).tobytes()
    cases["psd"] = b"8BPS" + struct.pack(">HxxxxxxHIIHH", 1, 3, 14, 21, 8, 3) + b"\0" * 12 + b"\0\0" + planes
    return cases


# ---- resizing --------------------------------------------------------------------------------------------------------
def noise(height, width, channels):
    """Every second row of 8 is full contrast, the others are bytes of all values. The test computes the same."""
    i = np.arange(height * width * channels, dtype=np.uint32)
    v = i * np.uint32(2654435761)
    v ^= v >> np.uint32(15)
    v *= np.uint32(2246822519)
    v ^= v >> np.uint32(13)
    v = (v & np.uint32(255)).astype(np.uint8).reshape(height, width, channels)
    v[(np.arange(height) // 8) % 2 == 1] = (v[(np.arange(height) // 8) % 2 == 1] >> 7) * 255
    return v


def resize_cases():
    sizes = {
        (23, 37): [(11, 17), (46, 74), (24, 38), (7, 90), (60, 5), (1, 1), (1, 20), (30, 1), (37, 23), (23, 50), (50, 37)],
        (1, 1): [(5, 4)],
        (1, 40): [(3, 13), (1, 100)],
        (40, 1): [(13, 2)],
        (64, 48): [(13, 11), (80, 80)],
        (500, 7): [(20, 9)],
        (1500, 1100): [(3, 5), (30, 41)],
    }
    filters = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
    modes = {1: "L", 3: "RGB", 4: "CMYK"}
    tensors, turn = {}, 0
    for (height, width), targets in sizes.items():
        for h, w in targets:
            for name, filter in filters.items():
                channels = (1, 3, 4)[turn % 3]
                turn += 1
                image = Image.frombytes(modes[channels], (width, height), noise(height, width, channels).tobytes())
                direct = image.resize((w, h), filter)
                stepped = direct if name == "nearest" else image.resize((w, height), filter).resize((w, h), filter)
                key = f"{name}_{height}x{width}x{channels}_to_{h}x{w}"
                tensors[key] = np.asarray(stepped).reshape(h, w, channels)
                if stepped.tobytes() != direct.tobytes():
                    tensors[key + "_13"] = np.asarray(direct).reshape(h, w, channels)
            turn += 1
    return tensors


def main():
    folder = Path(sys.argv[1])
    tensors = {}
    for name, data in {**jpeg_cases(), **png_cases(), **other_cases()}.items():
        image = Image.open(io.BytesIO(data))
        tensors[name + ".file"] = np.frombuffer(data, np.uint8)
        tensors[name + ".rgb"] = np.asarray(image.convert("RGB"))
        turned = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        if turned.shape != tensors[name + ".rgb"].shape or (turned != tensors[name + ".rgb"]).any():
            tensors[name + ".turned"] = np.ascontiguousarray(turned)
    versions = {"pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"), "numpy": np.__version__}
    safetensors.numpy.save_file(tensors, folder / "image.safetensors", metadata=versions)
    print(len(tensors), "tensors;", versions)
    tensors = resize_cases()
    safetensors.numpy.save_file(tensors, folder / "resize.safetensors", metadata=versions)
    print(len(tensors), "tensors;", versions)


if __name__ == "__main__":
    main()

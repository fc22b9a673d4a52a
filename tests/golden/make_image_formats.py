#!/usr/bin/env python3
"""Makes golden files of WebP, TIFF, AVIF and HEIC pictures, of PBM, PGM and PPM, and of odd PNGs, with Pillow.

Usage: make_image_formats.py OUTPUT_FOLDER   (needs Pillow 13, pillow-heif, tifffile, NumPy and safetensors; reads
tests/pictures/)

image_formats.safetensors: as image.safetensors of make_image.py: "<case>.file" u8 [bytes]; "<case>.rgb" u8 [H, W, 3] by
convert("RGB"); "<case>.turned" u8 after ImageOps.exif_transpose where that differs; "<case>.scaled" where grey of more
than 8 bits, scaled to 0..255 and rounded half up, differs. A case that Pillow refuses has "<case>.refused" u8 [0]
instead, and so has one that is left out here (LEFT_OUT). The name begins with the format. The metadata names the versions used.
"""
import io
import struct
import sys
from pathlib import Path

import numpy as np
import PIL
import pillow_heif
import safetensors.numpy
import tifffile
from PIL import Image, ImageOps, features

PICTURES = Path(__file__).resolve().parent.parent / "pictures"
LEFT_OUT = {"tiff_lab"}
LOSSLESS_HEIC = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


def picture(name, width, height):
    return Image.open(PICTURES / name).convert("RGB").resize((width, height), Image.LANCZOS)


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_alpha(rgb):
    """Every alpha from 0 to 255, so that dropping and compositing differ."""
    alpha = np.arange(rgb.width * rgb.height).reshape(rgb.height, rgb.width) * 7 % 256
    return Image.merge("RGBA", [*rgb.split(), Image.fromarray(alpha.astype(np.uint8))])


# ---- WebP ------------------------------------------------------------------------------------------------------------
def webp_cases():
    rgb, small = picture("coffee.jpg", 37, 23), picture("rocket.jpg", 11, 7)
    rgba = with_alpha(rgb)
    frames = [small.rotate(180), small]
    cases = {
        "webp_lossy": saved(rgb, "WEBP", quality=60),
        "webp_lossless": saved(rgb, "WEBP", lossless=True),
        "webp_lossy_alpha": saved(rgba, "WEBP", quality=80),
        "webp_lossless_alpha": saved(rgba, "WEBP", lossless=True, exact=True),
        "webp_grey": saved(rgb.convert("L"), "WEBP", lossless=True),
        "webp_one_pixel": saved(rgb.crop((3, 4, 4, 5)), "WEBP"),
        "webp_frames": saved(small, "WEBP", save_all=True, append_images=frames, duration=40, lossless=True),
        "webp_icc": saved(small, "WEBP", lossless=True, icc_profile=b"not looked at"),
        "webp_xmp": saved(small, "WEBP", lossless=True, xmp=b'<x tiff:Orientation="8"/>'),
        "webp_exif_before_xmp": saved(small, "WEBP", lossless=True, exif=exif_of(3), xmp=b'<x tiff:Orientation="8"/>'),
    }
    for orientation in range(1, 9):
        cases[f"webp_exif_{orientation}"] = saved(small, "WEBP", lossless=True, exif=exif_of(orientation))
    # A first frame that does not cover the canvas: the animation's second chunk ANMF moved by two pixels.
    wide = bytearray(cases["webp_frames"])
    canvas = wide.index(b"VP8X") + 12
    wide[canvas : canvas + 3] = (14).to_bytes(3, "little")  # 15 pixels wide
    cases["webp_small_frame"] = bytes(wide)
    return cases


# ---- TIFF ------------------------------------------------------------------------------------------------------------
def tiff(array, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, software=False, datetime=False, **options)
    return out.getvalue()


def tiff_cases():
    random = np.random.default_rng(4)
    rgb, small = picture("raccoon.jpg", 21, 14), picture("rocket.jpg", 11, 7)
    a = np.asarray(rgb)
    big = np.asarray(picture("coffee.jpg", 40, 21))
    grey16 = (np.asarray(rgb.convert("L")).astype(np.uint16) * 257) // 3
    rgb16 = random.integers(0, 65536, (9, 13, 3), np.uint16)
    rgba = with_alpha(rgb)
    multiplied = np.asarray(rgba).copy()
    multiplied[..., :3] = multiplied[..., :3].astype(int) * multiplied[..., 3:] // 255
    palette = random.integers(0, 65536, (3, 256), np.uint16)
    cases = {
        "tiff_rgb": saved(rgb, "TIFF"),
        "tiff_big_endian": tiff(a, byteorder=">"),
        "tiff_bigtiff": tiff(a, bigtiff=True),
        "tiff_grey": saved(rgb.convert("L"), "TIFF"),
        "tiff_bits": saved(rgb.convert("1"), "TIFF"),
        "tiff_group4": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff_white_is_zero": tiff(a[..., 0], photometric="miniswhite"),
        "tiff_palette": saved(rgb.quantize(16), "TIFF"),
        "tiff_palette_deep": tiff(a[..., 1], photometric="palette", colormap=palette),
        "tiff_grey_alpha": saved(rgba.convert("LA"), "TIFF"),
        "tiff_rgba": saved(rgba, "TIFF"),
        "tiff_rgba_multiplied": tiff(multiplied, photometric="rgb", extrasamples=["ASSOCALPHA"]),
        "tiff_rgbx": tiff(np.asarray(rgba), photometric="rgb", extrasamples=["UNSPECIFIED"]),
        "tiff_cmyk": saved(Image.fromarray(random.integers(0, 256, (9, 13, 4), np.uint8), "CMYK"), "TIFF"),
        "tiff_planar": tiff(a.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", rowsperstrip=5),
        "tiff_planar_tiles": tiff(big.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", tile=(16, 32),
                                  compression="zlib"),
        "tiff_tiles": tiff(big, photometric="rgb", tile=(32, 16)),
        "tiff_tiles_lzw": tiff(big, photometric="rgb", tile=(16, 16), compression="zlib", predictor=True),
        "tiff_strips": tiff(a, photometric="rgb", rowsperstrip=4),
        "tiff_one_pixel": tiff(a[:1, :1], photometric="rgb"),
        "tiff_lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff_packbits": saved(rgb, "TIFF", compression="packbits"),
        "tiff_deflate": saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_lzma": saved(rgb, "TIFF", compression="lzma"),
        "tiff_zstd": saved(rgb, "TIFF", compression="zstd"),
        "tiff_jpeg": saved(rgb, "TIFF", compression="jpeg", quality=80),
        "tiff_jpeg_grey": saved(rgb.convert("L"), "TIFF", compression="jpeg"),
        "tiff_ycbcr": saved(rgb.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        "tiff_grey_16": tiff(grey16),
        "tiff_grey_16_small": tiff((grey16 // 300).astype(np.uint16)),
        "tiff_grey_16_big_endian": tiff(grey16, byteorder=">", compression="zlib"),
        "tiff_grey_16_signed": tiff(grey16.astype(np.int16) - 4000),
        "tiff_grey_32": tiff(grey16.astype(np.int32) * 9 - 4000),
        "tiff_grey_float": tiff(grey16.astype(np.float32) / 100 - 40.5),
        "tiff_grey_16_white_is_zero": tiff(grey16, photometric="miniswhite", byteorder=">"),
        "tiff_rgb_16": tiff(rgb16, photometric="rgb"),
        "tiff_rgb_16_big_endian": tiff(rgb16, photometric="rgb", byteorder=">", compression="zlib"),
        "tiff_rgba_16": tiff(random.integers(0, 65536, (9, 13, 4), np.uint16), photometric="rgb",
                             extrasamples=["UNASSALPHA"]),
        "tiff_rgb_float": tiff(a.astype(np.float32), photometric="rgb"),
        "tiff_lab": tiff(a, photometric="cielab"),
        "tiff_pages": saved(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180), small]),
        "tiff_xmp": tiff(np.asarray(small), photometric="rgb", extratags=[(700, 1, None, b'<x tiff:Orientation="8"/>', True)]),
    }
    for bits in (2, 4):  # tifffile packs no such samples, so they are written by hand
        samples = random.integers(0, 2**bits, (5, 13))
        rows = []
        for row in samples:
            text = "".join(format(int(v), f"0{bits}b") for v in row)
            text += "0" * (-len(text) % 8)
            rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
        for name, photometric in [("grey", 1), ("white_is_zero", 0)]:
            cases[f"tiff_{name}_{bits}"] = raw_tiff(13, 5, bits, photometric, b"".join(rows))
        cases[f"tiff_palette_{bits}"] = raw_tiff(13, 5, bits, 3, b"".join(rows), palette[:, : 2**bits])
    cases["tiff_grey_12"] = raw_tiff(6, 4, 12, 1, random.integers(0, 256, 4 * 9, np.uint8).tobytes())
    for orientation in range(1, 9):
        cases[f"tiff_exif_{orientation}"] = saved(small, "TIFF", tiffinfo={274: orientation})
    return cases


def raw_tiff(width, height, bits, photometric, data, palette=None):
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric),
            (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(data))]
    blob = b""
    data += b"\0" * (len(data) % 2)
    if palette is not None:
        blob = palette.astype("<u2").tobytes()
        tags.append((320, 3, palette.size, 8 + len(data)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", 8 + len(data) + len(blob)) + data + blob + directory


# ---- AVIF, HEIC ------------------------------------------------------------------------------------------------------
def avif_cases():
    rgb, small = picture("coffee.jpg", 37, 23), picture("rocket.jpg", 11, 7)
    lossless = {"quality": 100, "subsampling": "4:4:4", "advanced": {}}
    cases = {
        "avif_lossless": saved(rgb, "AVIF", **lossless),
        "avif_420": saved(rgb, "AVIF", quality=60),
        "avif_422": saved(rgb, "AVIF", quality=60, subsampling="4:2:2"),
        "avif_444": saved(rgb, "AVIF", quality=60, subsampling="4:4:4"),
        "avif_grey": saved(rgb.convert("L"), "AVIF", quality=80),
        "avif_grey_420": saved(rgb, "AVIF", quality=60, subsampling="4:0:0"),
        "avif_alpha": saved(with_alpha(rgb), "AVIF", **lossless),
        "avif_frames": saved(small, "AVIF", save_all=True, append_images=[small.rotate(180)], **lossless),
    }
    for orientation in range(1, 9):
        cases[f"avif_exif_{orientation}"] = saved(small, "AVIF", exif=exif_of(orientation), **lossless)
    return cases


def heic_cases():
    pillow_heif.register_heif_opener()
    rgb, small = picture("coffee.jpg", 37, 23), picture("rocket.jpg", 11, 7)
    cases = {
        "heic_lossless": saved(rgb, "HEIF", **LOSSLESS_HEIC),
        "heic_420": saved(rgb, "HEIF", quality=60),
        "heic_444": saved(rgb, "HEIF", quality=60, chroma=444),
        "heic_grey": saved(rgb.convert("L"), "HEIF", quality=80),
        "heic_alpha": saved(with_alpha(rgb), "HEIF", **LOSSLESS_HEIC),
    }
    for orientation in (1, 3, 6, 8, 2, 5):
        cases[f"heic_exif_{orientation}"] = saved(small, "HEIF", exif=exif_of(orientation).tobytes(), **LOSSLESS_HEIC)
    return cases


# ---- PBM, PGM, PPM ---------------------------------------------------------------------------------------------------
def pnm_cases():
    random = np.random.default_rng(5)

    def text(values):
        return b"\n".join(b" ".join(str(int(v)).encode() for v in row) for row in values.reshape(values.shape[0], -1))

    bits = random.integers(0, 2, (5, 11))
    cases = {
        "pnm_p1": b"P1\n# a comment\n11 5\n" + text(bits),
        "pnm_p1_dense": b"P1 11 5\n" + b"\n".join(b"".join(str(v).encode() for v in row) for row in bits) + b"\n",
        "pnm_p1_comment": b"P1 11 2\n" + text(bits[:1]) + b" # between 0 and 1\n" + text(bits[1:2]),
        "pnm_p4": b"P4\n11 5\n" + np.packbits(bits.astype(np.uint8), axis=1).tobytes(),
    }
    for maxval in (1, 7, 100, 255, 256, 1023, 65535):
        deep = maxval > 255
        grey, rgb = random.integers(0, maxval + 1, (5, 7)), random.integers(0, maxval + 1, (5, 7, 3))
        kind = ">u2" if deep else "u1"
        head = b"7 5 %d\n" % maxval
        cases[f"pnm_p2_{maxval}"] = b"P2 " + head + text(grey)
        cases[f"pnm_p3_{maxval}"] = b"P3\n" + head + text(rgb) + b"\n"
        cases[f"pnm_p5_{maxval}"] = b"P5\n" + head + grey.astype(kind).tobytes()
        cases[f"pnm_p6_{maxval}"] = b"P6 # c\n" + head + rgb.astype(kind).tobytes()
    cases["pnm_p5_above_maxval"] = b"P5 4 1 100\n\x00\x64\x65\xff"
    cases["pnm_p2_above_maxval"] = b"P2 4 1 100\n0 100 101 255"
    cases["pnm_p5_cut"] = b"P5 4 2 255\n\x00\x64\x65\xff"
    cases["pnm_p2_cut"] = b"P2 4 2 255\n1 2 3 4 5 6 7"
    cases["pnm_p5_maxval_0"] = b"P5 4 1 0\n\x00\x64\x65\xff"
    cases["pnm_p5_maxval_65536"] = b"P5 4 1 65536\n\x00\x64\x65\xff\x00\x64\x65\xff"
    cases["pnm_p1_letter"] = b"P1 4 1\n0 1 x 1"
    cases["pnm_trailing"] = b"P6 1 1 255\nabcdefgh"
    return cases


# ---- PNG without its end ---------------------------------------------------------------------------------------------
def png_cases():
    random = np.random.default_rng(6)
    image = Image.fromarray(random.integers(0, 256, (9, 13, 3), np.uint8))
    whole = saved(image, "PNG")
    end = whole.index(b"IEND") - 4
    deep = saved(Image.fromarray(random.integers(0, 65536, (9, 13), np.uint16)), "PNG")
    cases = {f"png_without_{cut}": whole[: len(whole) - cut] for cut in (1, 4, 8, 11, 12, 13, 16, 40)}
    cases["png_tail_of_zeros"] = whole[:end] + bytes(30)
    cases["png_text_cut"] = whole[:end] + b"\0\0\0\x40tEXtComment"
    cases["png_deep_without_12"] = deep[:-12]
    cases["png_deep"] = deep
    return cases


def scaled(image):
    """Grey of more than 8 bits as value / highest * 255, rounded half up; None for other pictures."""
    if image.mode not in ("I", "F", "I;16", "I;16B"):
        return None
    values = np.asarray(image).astype(np.float64)
    highest = {"F": 1.0}.get(image.mode, 65535.0)
    if image.format == "TIFF":
        bits, format = image.tag_v2[258][0], image.tag_v2.get(339, (1,))[0]
        highest = 1.0 if format == 3 else 2.0 ** (bits - (format == 2)) - 1
    grey = np.floor(np.clip(values / highest, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def main():
    folder = Path(sys.argv[1])
    tensors = {}
    for name, data in {**webp_cases(), **tiff_cases(), **avif_cases(), **heic_cases(), **pnm_cases(),
                       **png_cases()}.items():
        tensors[name + ".file"] = np.frombuffer(data, np.uint8)
        try:
            image = Image.open(io.BytesIO(data))
            rgb = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            print(f"{name}: refused: {error}")
            rgb = None
        if rgb is None or name in LEFT_OUT:
            tensors[name + ".refused"] = np.zeros(0, np.uint8)
            continue
        tensors[name + ".rgb"] = rgb
        turned = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        if turned.shape != rgb.shape or (turned != rgb).any():
            tensors[name + ".turned"] = np.ascontiguousarray(turned)
        other = scaled(image)
        if other is not None and (other != rgb).any():
            tensors[name + ".scaled"] = other
    versions = {"pillow": PIL.__version__, "pillow_heif": pillow_heif.__version__,
                "libheif": pillow_heif.libheif_version(), "numpy": np.__version__, "tifffile": tifffile.__version__}
    versions |= {name: features.version(name) for name in ("webp", "libtiff", "avif")}
    safetensors.numpy.save_file(tensors, folder / "image_formats.safetensors", metadata=versions)
    print(len(tensors), "tensors;", versions)


if __name__ == "__main__":
    main()

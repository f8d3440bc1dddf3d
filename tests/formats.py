"""A photo in every sort of file that image folders hold, as bytes."""

import io

import numpy as np
from jpeg_surgery import with_adobe, with_factors, with_frame, with_ids, without
from PIL import Image
from png_writer import png

FAST_JPEGS = {
    "jpeg 4:4:4": {"subsampling": 0},
    "jpeg 4:2:2": {"subsampling": 1},
    "jpeg 4:2:0": {"subsampling": 2},
    "jpeg 4:2:0, of high quality": {"subsampling": 2, "quality": 100},
    "jpeg 4:2:0, of low quality": {"subsampling": 2, "quality": 5},
    "jpeg 4:2:2, progressive": {"subsampling": 1, "progressive": True},
    "jpeg 4:2:0, progressive": {"subsampling": 2, "progressive": True},
    "jpeg with restart markers": {"restart_marker_blocks": 3},
    "jpeg, progressive with restart markers": {"restart_marker_rows": 1, "progressive": True},
    "jpeg with tables of its own": {"optimize": True},
    "jpeg with a comment and a profile": {"comment": b"\xff\xda\xff\xd9", "icc_profile": b"\xff\xd8" * 40000},
}
SAVED = {
    "jpeg, CMYK": ("JPEG", "CMYK", {}),
    "jpeg, CMYK, progressive": ("JPEG", "CMYK", {"progressive": True}),
    "jpeg, RGB": ("JPEG", "RGB", {"keep_rgb": True}),
    "png, 1 bit": ("PNG", "1", {}),
    "png, gray": ("PNG", "L", {}),
    "png, gray with a transparent value": ("PNG", "L", {"transparency": 100}),
    "png, gray of 16 bits": ("PNG", "I;16", {}),
    "png, gray with alpha": ("PNG", "LA", {}),
    "png, palette": ("PNG", "P", {}),
    "png, palette of 4 bits": ("PNG", "P", {"bits": 4}),
    "png, palette with a transparent entry": ("PNG", "P", {"transparency": 3}),
    "png, palette with alpha": ("PNG", "P", {"transparency": bytes(range(256))}),
    "png with a transparent colour": ("PNG", "RGB", {"transparency": (10, 20, 30)}),
    "png with alpha": ("PNG", "RGBA", {}),
    "gif": ("GIF", "P", {}),
    "gif, interlaced and transparent": ("GIF", "P", {"interlace": 1, "transparency": 5}),
    "gif of several frames": ("GIF", "P", {"save_all": True}),
    "webp": ("WEBP", "RGB", {}),
    "webp, lossless with alpha": ("WEBP", "RGBA", {"lossless": True}),
    "webp of several frames": ("WEBP", "RGB", {"save_all": True}),
    "bmp": ("BMP", "RGB", {}),
    "bmp, palette": ("BMP", "P", {}),
    "bmp, 1 bit": ("BMP", "1", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff, LZW": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff, deflated CMYK": ("TIFF", "CMYK", {"compression": "tiff_deflate"}),
    "tiff, gray of 16 bits": ("TIFF", "I;16", {}),
    "tiff of floats": ("TIFF", "F", {}),
    "tiff, JPEG in it": ("TIFF", "RGB", {"compression": "jpeg"}),
    "ppm": ("PPM", "RGB", {}),
    "pgm": ("PPM", "L", {}),
    "pgm of 16 bits": ("PPM", "I;16", {}),
    "jpeg 2000": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
}


def encode(photo, file_format="JPEG", **options):
    file = io.BytesIO()
    if options.get("save_all"):
        options["append_images"] = [photo.rotate(180)]
    photo.save(file, file_format, **options)
    return file.getvalue()


def fast_jpegs(photo):
    """By kind, the JPEGs that nvImageCodec decodes."""
    w, h = photo.size
    files = {kind: encode(photo, **options) for kind, options in FAST_JPEGS.items()}
    half, quarter = files["jpeg 4:2:2"], files["jpeg 4:2:0"]
    return files | {
        "jpeg, gray": encode(photo.convert("L")),
        "jpeg, gray, progressive": encode(photo.convert("L"), progressive=True),
        "jpeg, gray with factors": with_factors(encode(photo.convert("L")), (2, 2)),
        # As many blocks in the same order, so that nothing but the picture is cut to pieces.
        "jpeg 4:4:0": with_factors(half, (1, 2), size=(h, w)),
        "jpeg 4:1:1": with_factors(quarter, (4, 1), size=(2 * w, h // 2)),
        "jpeg 4:2:2, by factors of 4:2:0": with_factors(quarter, (2, 2), (1, 2), (1, 2)),
        "jpeg 4:4:4, by large factors": with_factors(files["jpeg 4:4:4"], (2, 1), (2, 1), (2, 1)),
        "jpeg without JFIF": without(quarter, 0xE0),
        "jpeg of Adobe's, YCbCr": with_adobe(quarter, 1),
        "jpeg of other ids": with_ids(without(quarter, 0xE0), (0, 1, 2)),
        "jpeg of several photos": encode(photo, "MPO", save_all=True),
        "jpeg, extended": with_frame(quarter, 0xC1),
    }


def other_files(photo):
    """By kind, the files that Pillow decodes."""
    rgba = photo.convert("RGBA")
    rgba.putalpha(photo.convert("L"))
    files = {kind: encode(in_mode(rgba, mode), fmt, **options) for kind, (fmt, mode, options) in SAVED.items()}
    baseline, cmyk, wide = encode(photo), files["jpeg, CMYK"], np.asarray(rgba).astype(np.uint16) * 257
    return files | {
        "jpeg, CMYK without Adobe's marker": without(cmyk, 0xEE),
        "jpeg, YCCK": with_adobe(cmyk, 2),
        "jpeg of Adobe's, RGB": with_adobe(baseline, 0),
        "jpeg of Adobe's, unknown": with_adobe(baseline, 7),
        "jpeg, RGB by ids": with_ids(without(baseline, 0xE0), b"RGB"),
        "jpeg, arithmetic codes": with_frame(baseline, 0xC9),
        "jpeg, progressive arithmetic codes": with_frame(encode(photo, progressive=True), 0xCA),
        "jpeg of finer chroma": with_factors(encode(photo, subsampling=0), (1, 1), (2, 1), (1, 1)),
        "jpeg with bytes before a marker": baseline[:20] + b"junk" + baseline[20:],
        "jpeg with filled markers": baseline[:2] + b"\xff\xff" + baseline[2:],
        "jpeg with bytes behind it": baseline + b"and a caption",
        "png, interlaced": png(np.asarray(photo), interlaced=True),
        "png, interlaced with alpha": png(np.asarray(rgba), interlaced=True),
        "png of 16 bits": png(wide[..., :3]),
        "png of 16 bits with alpha, interlaced": png(wide, interlaced=True),
        "png, gray of 16 bits with alpha": png(wide[..., 2:]),
    }


def in_mode(photo, mode):
    if mode == "I;16":
        return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    return photo.convert(mode)

"""Image formats that are read, by decoders that run no other program."""

from __future__ import annotations

import importlib

from PIL import Image

_WANTED = ("JPEG", "JPEG2000", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "DIB", "PPM")


def _register_heif() -> None:
    """Let Pillow read HEIF, the format of iPhones, if the package pillow-heif is installed."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return


Image.init()
_register_heif()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""Formats that Pillow may open, by its own names, as far as it was built with them. All others are
refused, among them EPS, which Pillow hands to Ghostscript."""

HEIF_SUFFIXES = frozenset({".heic", ".heif"})

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".gif", ".webp"),
        *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm"),
        *((".avif",) if "AVIF" in FORMATS else ()),
        *(HEIF_SUFFIXES if "HEIF" in FORMATS else ()),
    }
)
"""Suffixes of the files that count as images in a folder, in lower case."""

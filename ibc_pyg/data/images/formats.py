"""Image formats that are read, by decoders that run no other program."""

from __future__ import annotations

from PIL import Image

_WANTED = ("JPEG", "JPEG2000", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM")

Image.init()
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
"""Formats that Pillow may open, by its own names, as far as it was built with them. All others are
refused, among them EPS, which Pillow hands to Ghostscript."""

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".gif", ".webp", ".avif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm"),
    }
)
"""Suffixes of the files that count as images in a folder, in lower case."""

"""Drawing of the characters of matplotlib's bundled fonts.

A class is a character, an image is that character in one face. Code points that some face draws
with identical pixels (Latin A and Greek Alpha) are one class, so that no image has two labels.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from ibc_pyg.errors import DatasetError

SIDE = 28
"""Height and width of an image in pixels."""
EM = 20
"""Font size in pixels per em; a character that does not fit is drawn smaller."""
MAX_INK = 24
"""Largest height or width of the ink in pixels, so that jitter keeps a character inside."""
EXCLUDED = ("LastResort", "cm", "DejaVuSansDisplay", "DejaVuSerifDisplay", "STIXSiz", "STIXNonUni")
"""Faces of placeholders, of parts of large symbols, or of characters at private code points."""


@dataclass(frozen=True)
class DrawnGlyphs:
    """One image per character and face; characters with identical images form one class.

    Attributes:
        images: uint8 `[M, SIDE, SIDE]`, white ink on black, sorted by class and then face.
        labels: Class of each image, int64 `[M]`.
        faces: Stem of the font file of each image, `M` names.
        characters: The lowest code point of each class, ascending.

    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    faces: tuple[str, ...]
    characters: tuple[int, ...]


def font_files(folder: Path | None = None) -> list[Path]:
    """Return the font files of Glyphs, sorted by name.

    Args:
        folder: Folder of `.ttf` files; None takes the folder of matplotlib.

    Raises:
        DatasetError: If the folder has no such file.

    """
    folder = folder or Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(f for f in folder.glob("*.ttf") if not f.stem.startswith(EXCLUDED))
    if not files:
        raise DatasetError(
            f"glyphs: no font files in {folder}; reinstall matplotlib with its fonts "
            "(pip install --force-reinstall matplotlib)"
        )
    return files


def is_drawable(code: int) -> bool:
    """Return whether a code point is a visible, assigned, public character."""
    return unicodedata.category(chr(code)) not in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}


def draw_character(fonts: dict[int, ImageFont.FreeTypeFont], path: Path, code: int) -> bytes:
    """Draw one character with centred ink.

    Args:
        fonts: Open fonts of this file by size; missing sizes are added.
        path: The font file.
        code: Code point.

    Returns:
        `SIDE * SIDE` bytes, row by row; empty if the character leaves no ink.

    """
    size = EM
    while True:
        if size not in fonts:
            fonts[size] = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        mask = fonts[size].getmask(chr(code))
        width, height = mask.size
        if max(width, height) <= MAX_INK:
            break
        size = min(size - 1, size * MAX_INK // max(width, height))
    if not width or not height:
        return b""
    pixels = np.frombuffer(bytes(mask), np.uint8).reshape(height, width)
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return b""
    ink = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (SIDE - ink.shape[0]) // 2, (SIDE - ink.shape[1]) // 2
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas.tobytes()


def merge_twins(drawn: dict[int, dict[str, bytes]]) -> dict[int, int]:
    """Join code points that at least one face draws with identical pixels (union-find).

    Args:
        drawn: Image of each code point in each face.

    Returns:
        For each code point the lowest one of its class.

    """
    parent = {code: code for code in drawn}

    def root(code: int) -> int:
        while parent[code] != code:
            parent[code] = parent[parent[code]]
            code = parent[code]
        return code

    first: dict[bytes, int] = {}
    for code in sorted(drawn):
        for image in drawn[code].values():
            a, b = root(first.setdefault(image, code)), root(code)
            parent[max(a, b)] = min(a, b)
    return {code: root(code) for code in drawn}


def draw_glyphs(
    folder: Path | None = None, *, min_faces: int = 8, max_faces: int = 17, min_images: int = 4
) -> DrawnGlyphs:
    """Draw every character that enough faces have.

    A class has one image per face, that of its lowest code point there. Faces that draw the same
    pixels (an upright sign in an oblique face) count once, so that no image occurs twice.

    Args:
        folder: Folder of `.ttf` files; None takes the folder of matplotlib.
        min_faces: Least number of faces with the character.
        max_faces: Greatest number of faces with the character.
        min_images: Least number of different images of a class; smaller classes are dropped.

    Raises:
        DatasetError: If there are no fonts, or they give fewer than two classes.

    """
    files = font_files(folder)
    codes = {f: [c for c in FT2Font(str(f)).get_charmap() if is_drawable(c)] for f in files}
    count = Counter(code for file in files for code in codes[file])
    drawn: dict[int, dict[str, bytes]] = defaultdict(dict)
    for file in files:
        fonts: dict[int, ImageFont.FreeTypeFont] = {}
        for code in codes[file]:
            if min_faces <= count[code] <= max_faces:
                image = draw_character(fonts, file, code)
                if image:
                    drawn[code][file.stem] = image
    representative = merge_twins(drawn)
    classes: dict[int, dict[str, bytes]] = defaultdict(dict)
    for code in sorted(drawn):
        for face, image in drawn[code].items():
            classes[representative[code]].setdefault(face, image)

    characters: list[int] = []
    rows: list[tuple[int, str, bytes]] = []
    for code in sorted(classes):
        distinct: dict[bytes, str] = {}
        for face in sorted(classes[code]):
            distinct.setdefault(classes[code][face], face)
        if len(distinct) >= min_images:
            rows += [(len(characters), face, image) for image, face in distinct.items()]
            characters.append(code)
    if len(characters) < 2:
        raise DatasetError(
            f"glyphs: the {len(files)} font files give {len(characters)} usable characters; "
            "reinstall matplotlib with its fonts (pip install --force-reinstall matplotlib)"
        )
    labels, faces, images = zip(*rows, strict=True)
    return DrawnGlyphs(
        images=np.frombuffer(b"".join(images), np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, np.int64),
        faces=faces,
        characters=tuple(characters),
    )

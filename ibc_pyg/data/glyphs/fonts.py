"""Characters of matplotlib's bundled fonts, drawn small: the raw material of Glyphs.

A class is a character, an image is that character in one face. Code points that some face draws
with the very same pixels (Latin A and Greek Alpha) are one class: no picture has two labels.
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
"""Size of the type in pixels an em; a character that would not fit is drawn smaller."""
MAX_INK = 24
"""Largest height or width of the ink in pixels, so that a jittered character stays inside."""
LEFT_OUT = ("LastResort", "cm", "DejaVuSansDisplay", "DejaVuSerifDisplay", "STIXSiz", "STIXNonUni")
"""Faces whose characters are placeholders, pieces of large signs, or stand at private codes."""


@dataclass(frozen=True)
class DrawnGlyphs:
    """One picture per character and face, characters that look alike merged into one class.

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
    """Return the font files that Glyphs is drawn from, by name.

    Args:
        folder: Folder of `.ttf` files; None takes the one that matplotlib ships.

    Raises:
        DatasetError: If the folder holds no such file.

    """
    folder = folder or Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(f for f in folder.glob("*.ttf") if not f.stem.startswith(LEFT_OUT))
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
    """Draw one character, its ink centred.

    Args:
        fonts: Open fonts of this file by size; sizes that are missing are added.
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
        drawn: Picture of each code point in each face.

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
        for picture in drawn[code].values():
            a, b = root(first.setdefault(picture, code)), root(code)
            parent[max(a, b)] = min(a, b)
    return {code: root(code) for code in drawn}


def draw_glyphs(
    folder: Path | None = None, *, min_faces: int = 8, max_faces: int = 17, min_images: int = 4
) -> DrawnGlyphs:
    """Draw every character that has enough faces.

    A class takes one picture per face, that of its lowest code point there. Faces that draw the
    same pixels (an upright sign in an oblique face) count once, so no picture occurs twice.

    Args:
        folder: Folder of `.ttf` files; None takes the one that matplotlib ships.
        min_faces: Fewest faces that must have the character.
        max_faces: Most faces that may have it.
        min_images: Fewest different pictures of a class; classes with fewer are dropped.

    Raises:
        DatasetError: If there are no fonts, or they leave fewer than two classes.

    """
    files = font_files(folder)
    codes = {f: [c for c in FT2Font(str(f)).get_charmap() if is_drawable(c)] for f in files}
    count = Counter(code for file in files for code in codes[file])
    drawn: dict[int, dict[str, bytes]] = defaultdict(dict)
    for file in files:
        fonts: dict[int, ImageFont.FreeTypeFont] = {}
        for code in codes[file]:
            if min_faces <= count[code] <= max_faces:
                picture = draw_character(fonts, file, code)
                if picture:
                    drawn[code][file.stem] = picture
    representative = merge_twins(drawn)
    classes: dict[int, dict[str, bytes]] = defaultdict(dict)
    for code in sorted(drawn):
        for face, picture in drawn[code].items():
            classes[representative[code]].setdefault(face, picture)

    characters: list[int] = []
    rows: list[tuple[int, str, bytes]] = []
    for code in sorted(classes):
        distinct: dict[bytes, str] = {}
        for face in sorted(classes[code]):
            distinct.setdefault(classes[code][face], face)
        if len(distinct) >= min_images:
            rows += [(len(characters), face, picture) for picture, face in distinct.items()]
            characters.append(code)
    if len(characters) < 2:
        raise DatasetError(
            f"glyphs: the {len(files)} font files leave {len(characters)} usable characters; "
            "reinstall matplotlib with its fonts (pip install --force-reinstall matplotlib)"
        )
    labels, faces, pictures = zip(*rows, strict=True)
    return DrawnGlyphs(
        images=np.frombuffer(b"".join(pictures), np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, np.int64),
        faces=faces,
        characters=tuple(characters),
    )

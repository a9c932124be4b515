"""Glyphs: a built-in data set of about 28,000 images of 2,700 characters, drawn in seconds.

Like the product benchmarks it has many classes of few images, and test classes that are unseen
in training. Training images are clean; test images have fixed affine jitter and noise.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL

from ibc_pyg.data.glyphs.fonts import draw_glyphs, font_files
from ibc_pyg.data.glyphs.noise import Distortion, distort
from ibc_pyg.data.images.cache_dir import check_private, default_cache_dir, make_private
from ibc_pyg.data.npz import NpzError, read_npz
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.files import atomic_writer

_logger = logging.getLogger(__name__)

FORMAT = 1
"""Incremented when the drawing changes, so that older cached tables are not read."""


def glyphs_table(*, cache_dir: Path | None = None, seed: int = 0) -> ImageTable:
    """Return Glyphs, drawn or read from the cache with identical pixels.

    Half of the characters are training classes, the other half are test classes.

    Args:
        cache_dir: Folder for the drawn table; None takes `default_cache_dir()`. If it cannot be
            written, a warning is logged and the table is not cached.
        seed: Seed of the split of the characters, the jitter and the noise, >= 0.

    Returns:
        Table of uint8 images `[M, 28, 28, 1]`, white on black. A class name is a code point and
        its character ('U+0416 Ж'), a path the code point and the face
        ('U+0416/DejaVuSerif-Bold').

    Raises:
        DatasetError: If matplotlib's fonts are missing, or the seed is negative.

    """
    if seed < 0:
        raise DatasetError(f"data.options.seed: {seed} is negative; it must be >= 0")
    return cached_table(cache_dir or default_cache_dir(), cache_key(seed), lambda: build(seed))


def cache_key(seed: int) -> str:
    """Return the file name of a table, a hash of everything that determines the pixels."""
    fonts = [(f.name, f.stat().st_size) for f in font_files()]
    parts = (FORMAT, matplotlib.__version__, PIL.__version__, np.__version__, Distortion(), fonts)
    digest = hashlib.sha256(repr((parts, seed)).encode()).hexdigest()[:16]
    return f"glyphs-{digest}.npz"


def build(seed: int) -> ImageTable:
    """Draw the table; see `glyphs_table`."""
    drawn = draw_glyphs()
    rng = np.random.default_rng(seed)
    count = len(drawn.characters)
    is_test = np.zeros(count, bool)
    is_test[rng.permutation(count)[: count // 2]] = True
    roles = np.where(is_test[drawn.labels], Role.TEST.value, Role.TRAIN.value).astype(np.uint8)
    images = drawn.images.copy()
    test_rows = np.flatnonzero(is_test[drawn.labels])
    images[test_rows] = distort(images[test_rows], rng)
    codes = [f"U+{code:04X}" for code in drawn.characters]
    return ImageTable(
        name="glyphs",
        paths=tuple(
            f"{codes[label]}/{face}" for label, face in zip(drawn.labels, drawn.faces, strict=True)
        ),
        labels=drawn.labels,
        roles=roles,
        class_names=tuple(
            f"{name} {printable(code)}" for name, code in zip(codes, drawn.characters, strict=True)
        ),
        images=images[..., None],  # [M, H, W, 1]
    )


def printable(code: int) -> str:
    """Return the character; a combining mark is put on a dotted circle, as in Unicode's charts."""
    mark = unicodedata.category(chr(code)).startswith("M")
    return "\u25cc" + chr(code) if mark else chr(code)


def cached_table(folder: Path, key: str, draw: Callable[[], ImageTable]) -> ImageTable:
    """Read a table from `folder / key`; if that fails, draw it and try to save it there."""
    path = folder / key
    try:
        if path.exists():
            check_private(folder)
            check_private(path)
        return load(path)
    except FileNotFoundError:
        pass
    except (OSError, NpzError, ValueError, KeyError, DatasetError) as error:
        _logger.warning("%s cannot be read (%s); drawing the characters again", path, error)
    table = draw()
    try:
        save(table, path)
    except (OSError, DatasetError, RunError) as error:
        _logger.warning("%s cannot be written (%s); continuing without a cache", path, error)
    return table


def save(table: ImageTable, path: Path) -> None:
    """Write a table held in memory to an `.npz` file, atomically.

    Raises:
        OSError: If the folder cannot be made.
        RunError: If the file cannot be written.
        DatasetError: If other users can write into the folder.
    """
    make_private(path.parent)
    with atomic_writer(path) as file:
        np.savez(
            file,
            name=np.array(table.name),
            paths=np.array(table.paths),
            labels=table.labels,
            roles=table.roles,
            class_names=np.array(table.class_names),
            images=np.asarray(table.images),
        )


def load(path: Path) -> ImageTable:
    """Read a table that `save` wrote.

    Raises:
        OSError, NpzError, ValueError, KeyError: If it is missing or damaged.
        DatasetError: If its columns do not match.

    """
    file = read_npz(path, ("name", "paths", "labels", "roles", "class_names", "images"))
    return ImageTable(
        name=str(file["name"]),
        paths=tuple(file["paths"].tolist()),
        labels=file["labels"],
        roles=file["roles"],
        class_names=tuple(file["class_names"].tolist()),
        images=file["images"],
    )


def raw_pixels(table: ImageTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return pixels as descriptors, the baseline of a trained embedding.

    Args:
        table: A table in memory.
        rows: Row numbers, int64 `[n]`.

    Returns:
        Descriptors of unit length (zero for a black image), float32 `[n, H * W * C]`.

    Raises:
        ValueError: If the images of `table` are files.

    """
    if table.images is None:
        raise ValueError(f"table {table.name!r} holds files; raw_pixels needs images in memory")
    pixels = table.images[rows].reshape(len(rows), -1).astype(np.float32)  # [n, H * W * C]
    norms = np.linalg.norm(pixels, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = pixels / np.maximum(norms, np.float32(1e-12))
    return result

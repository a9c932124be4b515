"""Verification of a data set: decodes every image."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ibc_pyg.data.images.decode import MAX_BYTES, UndecodableError, decode_bytes
from ibc_pyg.data.table import ImageTable, Role, SplitSizes
from ibc_pyg.errors import printable, reason
from ibc_pyg.files import read_bounded
from ibc_pyg.threads import map_ahead

SHOWN = 10
DARK = 16
"""Values below this, of 255, are almost black: so are 12 bits in a 16-bit file."""


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """Result of the check of one image.

    Attributes:
        path: Its path in the table.
        problem: Why it cannot be used, or None.
        digest: Hash of its content; empty if it cannot be read.
        grey: Whether it has one channel, or three equal ones.
        dark: Whether no value reaches `DARK`.
        size: Width and height in pixels; (0, 0) if it cannot be used.
    """

    path: str
    problem: str | None
    digest: bytes
    grey: bool
    dark: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`.

    Attributes:
        name: Name of the data set.
        images: Number of images in the table.
        classes: Number of classes with images.
        sizes: Sizes of the splits.
        broken: Images that cannot be read, with the reason.
        grey: Images with one channel, or three equal ones.
        dark: Images that are almost black.
        duplicates: Groups of images with the same content.
        conflicting: Those groups that span several classes, or training and test.
        single_image_classes: Names of classes with one image.
        smallest: Least width and height, in pixels.
        largest: Greatest width and height, in pixels.
    """

    name: str
    images: int
    classes: int
    sizes: SplitSizes
    broken: tuple[tuple[str, str], ...]
    grey: tuple[str, ...]
    dark: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    conflicting: tuple[tuple[str, ...], ...]
    single_image_classes: tuple[str, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]

    @property
    def ok(self) -> bool:
        """Whether every image can be read."""
        return not self.broken

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return [
            f"{self.name}: {self.images:,} images of {self.classes:,} classes",
            f"split: {self.sizes}",
            f"pixels: {self.smallest[0]} x {self.smallest[1]} to "
            f"{self.largest[0]} x {self.largest[1]}",
            *_section("broken", [f"{path}: {problem}" for path, problem in self.broken]),
            *(
                _section("greyscale", self.grey)
                if len(self.grey) < self.images
                else (f"greyscale: all {self.images:,}",)
            ),
            *(_section("almost black", self.dark) if self.dark else ()),
            *_section("duplicates", [" = ".join(group) for group in self.duplicates]),
            *_section(
                "duplicates across classes or train and test",
                [" = ".join(group) for group in self.conflicting],
            ),
            *_section("classes with one image", self.single_image_classes),
        ]


def _section(title: str, entries: list[str] | tuple[str, ...]) -> Iterator[str]:
    yield f"{title}: {len(entries):,}"
    yield from (f"  {printable(entry)}" for entry in entries[:SHOWN])
    if len(entries) > SHOWN:
        yield f"  ... and {len(entries) - SHOWN:,} more"


def check_file(path: str, file: os.PathLike[str]) -> ImageCheck:
    """Read and decode one image file, as for training."""
    data, digest = b"", b""
    try:
        data = read_bounded(Path(file), MAX_BYTES)
        if not data:
            return ImageCheck(path, "the file is empty", b"", False, False, (0, 0))
        digest = _digest(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = decode_bytes(data).numpy()  # [3, H, W]
    except (OSError, UndecodableError) as error:
        return ImageCheck(path, reason(error), digest, False, False, (0, 0))
    grey = _equal_channels(np.moveaxis(pixels, 0, -1))
    dark = bool(pixels.max() < DARK)
    return ImageCheck(path, None, digest, grey, dark, (pixels.shape[2], pixels.shape[1]))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _equal_channels(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    return pixels.shape[-1] == 1 or bool(
        np.array_equal(pixels[..., 0], pixels[..., 1])
        and np.array_equal(pixels[..., 1], pixels[..., 2])
    )


def _checks(table: ImageTable, workers: int) -> Iterator[ImageCheck]:
    if table.images is not None:
        for path, pixels in zip(table.paths, table.images, strict=True):
            height, width = pixels.shape[:2]
            digest = _digest(pixels.tobytes())
            grey, dark = _equal_channels(pixels), bool(pixels.max() < DARK)
            yield ImageCheck(path, None, digest, grey, dark, (width, height))
        return
    root = table.root
    assert root is not None
    with ThreadPoolExecutor(workers) as pool:
        yield from map_ahead(
            pool, lambda path: check_file(path, root / path), table.paths, 4 * workers
        )


def verify(
    table: ImageTable,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> VerifyReport:
    """Decode every image; report broken, grey and duplicate images and classes of one image.

    Args:
        table: The data set.
        progress: Called with the number of images done and the total.
        workers: Decoding threads.
    """
    checks = []
    for done, check in enumerate(_checks(table, workers), start=1):
        checks.append(check)
        if progress:
            progress(done, len(table))
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, check in enumerate(checks):
        if check.digest:
            groups[check.digest].append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    training = (table.roles & Role.TRAIN.value) > 0
    conflicting = [
        rows
        for rows in repeated
        if len(set(table.labels[rows])) > 1 or len(set(training[rows])) > 1
    ]
    shapes = np.array([c.size for c in checks if c.problem is None] or [(0, 0)])  # [n, 2]
    return VerifyReport(
        name=table.name,
        images=len(table),
        classes=len(np.unique(table.labels)),
        sizes=table.sizes(),
        broken=tuple((c.path, c.problem) for c in checks if c.problem is not None),
        grey=tuple(c.path for c in checks if c.grey),
        dark=tuple(c.path for c in checks if c.dark),
        duplicates=tuple(tuple(table.paths[row] for row in rows) for rows in repeated),
        conflicting=tuple(tuple(table.paths[row] for row in rows) for rows in conflicting),
        single_image_classes=tuple(table.class_names[i] for i in table.single_image_classes()),
        smallest=(int(shapes[:, 0].min()), int(shapes[:, 1].min())),
        largest=(int(shapes[:, 0].max()), int(shapes[:, 1].max())),
    )

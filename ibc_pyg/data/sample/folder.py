"""A synthetic folder data set: one folder per class."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write `2 * classes` folders; the loader assigns half of them to the test part."""
    for number in range(2 * classes):
        for index in range(images):
            save_jpeg(out / f"class {number}" / f"{index:03d}.jpg", number, index, seed)

"""Tiny synthetic sets in the exact layout and file formats of the real ones.

They let every loader, and the whole way from files to results, be run without the real pictures.
Each class has a shape and a colour of its own, so that a network can learn to tell them apart.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ibc_pyg.errors import ConfigError, DatasetError, printable

SAMPLES = ("cub", "cars", "sop", "inshop", "omniglot", "grocery_store", "folder", "csv")


def make_sample(
    name: str, out: Path | str, *, classes: int = 4, images: int = 6, seed: int = 0
) -> Path:
    """Write a synthetic data set that `load_table(name, out, allow_partial=True)` reads.

    Args:
        name: Name of the data set that is imitated.
        out: Folder to write to; it must be empty or absent.
        classes: Classes in the training part, and as many in the test part; at least 2.
        images: Images of each class, at least 2.
        seed: Seed of the drawings.

    Returns:
        The folder.

    Raises:
        ConfigError: If the name or a number is out of range.
        DatasetError: If the folder is not empty or cannot be written.
    """
    out = Path(out).expanduser()
    if name not in SAMPLES:
        raise ConfigError(f"name: no sample of {name!r}, there are {', '.join(SAMPLES)}")
    if not 2 <= classes <= 40:
        raise ConfigError(f"classes: {classes} is not between 2 and 40")
    if not 2 <= images <= 100:
        raise ConfigError(f"images: {images} is not between 2 and 100")
    module = importlib.import_module(f"ibc_pyg.data.sample.{name}")
    write = cast("Callable[[Path, int, int, int], None]", module.write)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise DatasetError(f"{printable(out)} is not empty; choose another folder")
        write(out, classes, images, seed)
    except OSError as error:
        raise DatasetError(f"{printable(out)}: cannot be written: {error.strerror}") from error
    return out

"""Small synthetic data sets in the exact layouts and file formats of the real ones.

They test every loader and whole runs without the real images. Each class has its own shape and
colour, so that a network can learn to distinguish them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ibc_pyg.errors import ConfigError, DatasetError, did_you_mean, printable

SAMPLES = ("cub", "cars", "sop", "inshop", "omniglot", "grocery_store", "folder", "csv")


def make_sample(
    name: str, out: Path | str, *, classes: int = 4, images: int = 6, seed: int = 0
) -> Path:
    """Write a synthetic data set that `load_table(name, out, allow_partial=True)` reads.

    Args:
        name: Name of the imitated data set.
        out: Destination; it must be empty or absent.
        classes: Number of training classes, and of test classes, 2 to 40.
        images: Images per class, 2 to 100.
        seed: Seed of the drawings.

    Returns:
        The folder.

    Raises:
        ConfigError: If the name is unknown or a number is out of range.
        DatasetError: If the folder is not empty or cannot be written.
    """
    out = Path(out).expanduser()
    if name not in SAMPLES:
        raise ConfigError(f"name: no sample of {name!r}; {did_you_mean(name, SAMPLES)}")
    if not 2 <= classes <= 40:
        raise ConfigError(f"classes: must be 2 to 40, got {classes}")
    if not 2 <= images <= 100:
        raise ConfigError(f"images: must be 2 to 100, got {images}")
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

"""Data set, batches and loading of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ibc_pyg.config.checks import Range, check, check_name, check_ranges

MAX_BATCH = 65_536
"""Most images of a batch."""
SAMPLERS = ("walk", "distinct", "redrawn")
"""Samplers of this package."""


@dataclass
class DataConfig:
    """Data set, batches and loading of images."""

    name: str = "glyphs"
    """Data set; `data list` lists all; or FILE.py:NAME, package.module:NAME."""
    root: str | None = None
    """Folder of the data set; not needed for built-in data sets."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the reader of the data set."""
    classes_per_batch: Annotated[int, Range(1, 10_000)] = 16
    """P: number of classes in a batch."""
    images_per_class: Annotated[int, Range(1, 10_000)] = 6
    """K: number of images of each class in a batch."""
    sampler: str = "distinct"
    """walk: all images of all classes, as in the released code; distinct: no class twice in a
    batch; redrawn: as walk, with a new P x K of the same product in each epoch; or FILE.py:NAME."""
    sampler_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of a sampler of your own."""
    val_classes: Annotated[float, Range(1e-4, 1, below=True)] = 0.1
    """Fraction of the training classes that is held out with `select` val."""
    val_fold: Annotated[int, Range(0, 10_000)] = 0
    """Index of the disjoint set of held-out classes, from 0."""
    transform: str = "glyphs"
    """Preset of augmentation and normalisation, or FILE.py:NAME."""
    transform_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the preset."""
    workers: Annotated[int | None, Range(0, 256)] = None
    """Processes that read images; 0: the main process; none: chosen for the machine."""
    cache: bool = False
    """Decode and resize each image once, and cache it in a memory-mapped file."""
    allow_partial: bool = False
    """Allow missing images."""
    on_error: Literal["stop", "skip"] = "stop"
    """stop: end with an error if an image cannot be read; skip: omit the image."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check_ranges("data", self)
        images = self.classes_per_batch * self.images_per_class
        needs = f"at most {MAX_BATCH} images"
        check("data.classes_per_batch x images_per_class", images <= MAX_BATCH, needs, images)
        folds = int(1 / self.val_classes)
        check("data.val_fold", 0 <= self.val_fold < folds, f"in [0, {folds - 1}]", self.val_fold)
        check_name("data.sampler", self.sampler, SAMPLERS)
        if self.sampler in SAMPLERS:
            args = self.sampler_args
            check("data.sampler_args", not args, f"empty with the sampler {self.sampler}", args)

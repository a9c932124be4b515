"""Where the images come from and how a batch is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ibc_pyg.config.checks import check


@dataclass
class DataConfig:
    """Where the images come from and how a batch is drawn."""

    name: str = "glyphs"
    """Data set; `python run.py data list` names them all."""
    root: str | None = None
    """Folder of the data set; not needed for the embedded ones."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the data set's reader."""
    classes_per_batch: int = 16
    """P: different classes in a batch."""
    images_per_class: int = 6
    """K: images of each class in a batch."""
    sampler: Literal["walk", "distinct", "redrawn"] = "distinct"
    """walk: every image of every class, as in the released code; distinct: no class twice in a
    batch; redrawn: each epoch draws a new P x K with the same product."""
    val_classes: float = 0.1
    """Share of the training classes that is held out, when they are used (see `select`)."""
    val_fold: int = 0
    """Which of the disjoint held-out shares to take, from 0."""
    transform: str = "glyphs"
    """Preset of augmentation and normalisation."""
    transform_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the preset."""
    workers: int | None = None
    """Processes that read images; 0: the main one; none: as many as suit the machine."""
    cache: bool = False
    """Decode and resize each image once, into a memory-mapped file."""
    allow_partial: bool = False
    """Use a set although images are missing."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do with an image that cannot be read."""

    def __post_init__(self) -> None:
        """Check ranges; raise ConfigError."""
        check("data.classes_per_batch", self.classes_per_batch >= 1, ">= 1", self.classes_per_batch)
        check("data.images_per_class", self.images_per_class >= 1, ">= 1", self.images_per_class)
        check("data.val_classes", 0 < self.val_classes < 1, "in (0, 1)", self.val_classes)
        folds = int(1 / self.val_classes)
        check("data.val_fold", 0 <= self.val_fold < folds, f"in [0, {folds - 1}]", self.val_fold)
        check("data.workers", self.workers is None or self.workers >= 0, ">= 0", self.workers)

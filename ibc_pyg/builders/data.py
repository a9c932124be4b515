"""Images of an experiment: table, split, transform, cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from ibc_pyg.builders.arguments import argument_errors
from ibc_pyg.config import Config, DataConfig
from ibc_pyg.console import Progress
from ibc_pyg.data.images.cache import ImageCache, open_cache
from ibc_pyg.data.images.cache_dir import default_cache_dir
from ibc_pyg.data.images.decode import decodes_on_devices
from ibc_pyg.data.images.sources import OnError
from ibc_pyg.data.loading.loader import Loading, suggested_workers
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.splits import Splits, split
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import Transform, transform_preset
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.parallel.launch import Launch
from ibc_pyg.runs.split_record import SplitRecord

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """Images of an experiment.

    Attributes:
        table: All images.
        splits: Training, held-out and test images.
        transform: Augmentation and normalisation.
        cache: Decoded images; None reads their files.
        workers: Number of processes that read images.
        on_error: Whether an unreadable image raises an error or is skipped.
        skipped: Reason for each skipped image, by its row; filled while images are read.
        channels_last: Whether batches are channels last in memory.
    """

    table: ImageTable
    splits: Splits
    transform: Transform
    cache: ImageCache | None = None
    workers: int = 0
    on_error: OnError = "stop"
    skipped: dict[int, str] = field(default_factory=dict)
    channels_last: bool = False

    def loading(self, device: torch.device) -> Loading:
        """Return the settings of a loader of these images."""
        return Loading(
            self.workers,
            device,
            cache=self.cache,
            on_error=self.on_error,
            channels_last=self.channels_last,
        )

    @property
    def train_table(self) -> ImageTable:
        """The training images, with classes renumbered from 0 without gaps."""
        table = self.table.take(self.splits.train)
        return replace(table, labels=self.splits.train_labels)


def build_data(
    config: Config, console: Console | None = None, *, record: SplitRecord | None = None
) -> Data:
    """Load the data set, or the images recorded by a run, and split it.

    Args:
        config: The experiment.
        console: Console for the progress of building a cache.
        record: Images of a resumed run; the data set may contain more images by now.

    Raises:
        DatasetError: If images are missing or a part of the split is empty.
        ConfigError: If a name or an argument is unknown, `select` is test and there are no test
            images, or `evaluate.raw_pixels` is set for a
            data set of files.
        RunError: If a data set in memory differs from the recorded one.
    """
    data = config.data
    table = load_images(data) if record is None else _recorded_images(data, record)
    if config.evaluate.raw_pixels and table.images is None:
        raise ConfigError(
            f"evaluate.raw_pixels needs a data set in memory, but the images of {table.name} are "
            "files; set it to false"
        )
    held_out = data.val_classes if config.select == "val" else None
    splits = split(table, val_classes=held_out, val_fold=data.val_fold, seed=config.train.seed)
    given = table.where(Role.VAL)
    if record is None and len(given) and splits.val is None:
        _logger.warning(
            "%s: the %d validation images are not used: select is %s",
            table.name,
            len(given),
            config.select,
        )
    if splits.test is None and config.select == "test":
        raise ConfigError(
            f"select = test needs test images, but {table.name} has none; set select = val or last"
        )
    return replace(_data(data, table, splits, console), channels_last=config.train.channels_last)


def recorded_data(config: Config, record: SplitRecord, console: Console | None = None) -> Data:
    """Load the images and the split recorded by a run; see `build_data`."""
    table = _recorded_images(config.data, record)
    return _data(config.data, table, record.splits, console)


def build_transform(config: DataConfig) -> Transform:
    """Build the transform.

    Raises:
        ConfigError: If the name or an argument is unknown.
    """
    with argument_errors("data.transform_args", config.transform, config.transform_args):
        return transform_preset(config.transform, **config.transform_args)


def load_images(config: DataConfig) -> ImageTable:
    """Load the table of the data set.

    Raises:
        DatasetError: If images are missing.
        ConfigError: If the name or an option is unknown.
    """
    root = None if config.root is None else Path(config.root)
    with argument_errors("data.options", config.name, config.options):
        return load_table(config.name, root, allow_partial=config.allow_partial, **config.options)


def _recorded_images(config: DataConfig, record: SplitRecord) -> ImageTable:
    if record.image_shape is None:
        return record.table
    now, then = load_images(config), record.table
    if now.paths != then.paths or not np.array_equal(now.labels, then.labels):
        raise RunError(
            f"data set {config.name} differs from the one that the run was trained on: "
            f"{len(now):,} images against {len(then):,}, or other classes"
        )
    return replace(then, images=now.images)


def _data(config: DataConfig, table: ImageTable, splits: Splits, console: Console | None) -> Data:
    transform = build_transform(config)
    if transform.decodes_on_device:
        _check_decoding(config, table)
    cache = _cache(config, table, transform, console)
    workers = config.workers
    if workers is None:
        processes = Launch.from_environment().local_size
        workers = suggested_workers(table, cached=cache is not None, processes=processes)
    return Data(table, splits, transform, cache, workers, config.on_error)


def _check_decoding(config: DataConfig, table: ImageTable) -> None:
    """Check that files are decoded on the device; raise ConfigError."""
    name = "data.transform_args.decode_on_device"
    if not decodes_on_devices():
        raise ConfigError(
            f"{name}: this version of torchvision decodes no JPEG files; set it to false"
        )
    if table.images is not None:
        raise ConfigError(f"{name}: the images of {table.name} are in memory; set it to false")
    if config.cache:
        raise ConfigError(f"{name}: the cache holds decoded images; set data.cache to false")
    if config.on_error == "skip":
        raise ConfigError(
            f"{name}: an image cannot be replaced once its batch is on the device; set "
            "data.on_error to stop"
        )


def _cache(
    data: DataConfig, table: ImageTable, transform: Transform, console: Console | None
) -> ImageCache | None:
    if not data.cache or table.images is not None:
        return None
    with Progress(len(table), "cache", console=console or Console(quiet=True)) as bar:
        return open_cache(
            table,
            transform.resize,
            default_cache_dir(),
            on_error=data.on_error,
            progress=lambda done, total: bar.update(done),
        )

"""Loaders of training and test batches."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from ibc_pyg.data.images.cache import ImageCache
from ibc_pyg.data.images.cpu_count import available_cores
from ibc_pyg.data.images.sources import ImageSource, Rows, open_source
from ibc_pyg.data.loading.batch import Batch, Failure, Pixels
from ibc_pyg.data.loading.batch_keys import EvalKeys, TrainKeys
from ibc_pyg.data.loading.buffers import Buffers
from ibc_pyg.data.loading.dataset import BatchDataset, OnError
from ibc_pyg.data.sampling import PKSampler
from ibc_pyg.data.table import ImageTable
from ibc_pyg.data.transforms.base import Transform
from ibc_pyg.errors import DatasetError, RunError

_LOGGER = logging.getLogger(__name__)


class Loader:
    """Batches in the order of their keys, read by worker processes or in this one.

    Attributes:
        skipped: Why each image that could not be read was skipped, by its row in the table.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        keys: TrainKeys | EvalKeys,
        *,
        workers: int,
        device: torch.device,
        pin_memory: bool | None = None,
    ) -> None:
        self.skipped: dict[int, str] = {}
        self.transform = dataset.transform
        self.device = device
        self._buffers = Buffers()
        self._keys = keys
        self._loader: DataLoader[Pixels | Failure] = DataLoader(
            dataset,
            batch_size=None,
            sampler=keys,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda" if pin_memory is None else pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_ctrl_c_to_the_main_process,
            # DataLoader draws a base seed; from its own generator it leaves torch's alone.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches of a whole pass."""
        return len(self._keys)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._raw():
            if isinstance(batch, Failure):
                raise DatasetError(batch.message)
            for image in batch.skipped:
                if image.row not in self.skipped:
                    _LOGGER.warning("skipped: %s", image.reason)
                self.skipped[image.row] = image.reason
            yield self._finish(batch)

    def _raw(self) -> Iterator[Pixels | Failure]:
        try:
            yield from self._loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                "a process that reads images was killed, perhaps for want of memory or of shared "
                "memory (/dev/shm; in a container: --shm-size); lower data.workers"
            ) from None

    def _finish(self, batch: Pixels) -> Batch:
        pixels = batch.pixels.to(self.device, non_blocking=True)  # [B, S, S, C]
        labels = batch.labels.to(self.device, non_blocking=True)  # [B]
        out = self._buffers.empty(*pixels.shape) if pixels.device.type == "cpu" else None
        if batch.draws is None:
            images = self.transform.normalise(pixels, out)  # [B, C, S, S]
        else:
            images = self.transform.finish(pixels, batch.draws, out, batch.first)  # [B, C, S, S]
        return Batch(images, labels, batch.rows, batch.skipped)


class TrainLoader(Loader):
    """Training batches, from the sampler's position on.

    The sampler's position follows the batches that were handed out, not those that workers have
    read ahead, so that its `state_dict()` taken after a step resumes behind that step.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        sampler: PKSampler,
        *,
        workers: int,
        device: torch.device,
        pin_memory: bool | None,
    ) -> None:
        super().__init__(
            dataset, TrainKeys(sampler), workers=workers, device=device, pin_memory=pin_memory
        )
        self.sampler = sampler

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.sampler.epoch
        for step, batch in enumerate(super().__iter__(), self.sampler.step + 1):
            self.sampler.seek(epoch, step)
            yield batch
        self.sampler.seek(epoch + 1, 0)


def train_loader(
    table: ImageTable,
    sampler: PKSampler,
    transform: Transform,
    *,
    seed: int,
    workers: int = 0,
    device: torch.device | str = "cpu",
    pin_memory: bool | None = None,
    cache: ImageCache | None = None,
    on_error: OnError = "stop",
    shrink: bool = False,
) -> TrainLoader:
    """Make the loader of training batches.

    Args:
        table: The training images; the sampler's rows are rows of this table.
        sampler: Draws the batches, sharded if the run has several processes.
        transform: Its `augment` makes the images.
        seed: Seed of the augmentation, 0 or more.
        workers: Processes that read images; 0 reads in this one, which is the fastest for sets in
            memory. `suggested_workers` makes a choice.
        device: Where the batches go; the last part of the transform is done there.
        pin_memory: Pass 8-bit pixels through page-locked memory, so that the copy to a GPU runs
            beside its work; None does so if `device` is one.
        cache: Where the pictures are read from, instead of their files.
        on_error: What to do with an image that cannot be read: "stop" raises DatasetError while
            iterating; "skip" takes another image of the class and lists the broken one in
            `loader.skipped`.
        shrink: Decode large JPEGs at 1/2, 1/4 or 1/8, as long as the shorter side keeps
            `transform.resize` pixels: about twice as fast at 2,000 px, but crops come from the
            smaller picture, as they do from the cache.
    """
    dataset = BatchDataset(
        _source(table, cache, transform, shrink),
        table.labels,
        transform,
        seed=seed,
        on_error=on_error,
    )
    return TrainLoader(
        dataset, sampler, workers=workers, device=torch.device(device), pin_memory=pin_memory
    )


def eval_loader(
    table: ImageTable,
    rows: Rows,
    transform: Transform,
    batch_size: int,
    *,
    workers: int = 0,
    device: torch.device | str = "cpu",
    pin_memory: bool | None = None,
    cache: ImageCache | None = None,
    on_error: OnError = "stop",
    shrink: bool = False,
) -> Loader:
    """Make the loader of test batches: `rows` in their order, none twice.

    Args:
        table: The images.
        rows: Rows of the table, int64 `[n]`; for several processes, `shard_rows` of them.
        transform: Its `test` makes the images.
        batch_size: Images of a batch; the last one may be smaller.
        workers: Processes that read images; 0 reads in this one.
        device: Where the batches go.
        pin_memory: As for `train_loader`.
        cache: Where the pictures are read from, instead of their files.
        on_error: "stop" raises DatasetError while iterating; with "skip" batches lack the images
            that cannot be read, and `loader.skipped` lists them.
        shrink: As for `train_loader`; pixels differ by less than half a grey level on average.

    Raises:
        ValueError: If `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    dataset = BatchDataset(
        _source(table, cache, transform, shrink), table.labels, transform, on_error=on_error
    )
    return Loader(
        dataset,
        EvalKeys(rows, batch_size),
        workers=workers,
        device=torch.device(device),
        pin_memory=pin_memory,
    )


def suggested_workers(table: ImageTable, *, cached: bool = False, processes: int = 1) -> int:
    """Return a sane number of worker processes for this machine.

    A set in memory is read fastest by the main process itself: 96 glyphs take about a millisecond,
    and handing them over costs more. Decoding gets all cores but one, at most 8, shared among the
    `processes` of a run on this machine; cached pictures need half as many.
    """
    if table.images is not None:
        return 0
    cores = available_cores() // max(processes, 1)
    workers = max(1, min(cores - 1, 8))
    return max(1, workers // 2) if cached else workers


def _source(
    table: ImageTable, cache: ImageCache | None, transform: Transform, shrink: bool
) -> ImageSource:
    if cache is None or table.images is not None:
        return open_source(table, shrink_to=transform.resize if shrink else None)
    return cache.source(table)


def _as_it_is(batch: Any) -> Any:
    """Hand on what the data set made; a lambda could not be sent to a worker."""
    return batch


def _leave_ctrl_c_to_the_main_process(_worker: int) -> None:
    """Keep workers from printing tracebacks of their own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

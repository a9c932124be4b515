"""Loaders of training and test batches."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ibc_pyg.data.images.cache import ImageCache
from ibc_pyg.data.images.cpu_count import cpu_count
from ibc_pyg.data.images.encoded import EncodedCrops
from ibc_pyg.data.images.sources import FileSource, ImageSource, OnError, open_source
from ibc_pyg.data.loading.batch import Batch, Pixels, ReadFailure
from ibc_pyg.data.loading.batch_keys import EvalKeys, TrainKeys
from ibc_pyg.data.loading.dataset import BatchDataset
from ibc_pyg.data.sampling import PKSampler
from ibc_pyg.data.table import ImageTable, Rows
from ibc_pyg.data.transforms.base import Transform
from ibc_pyg.data.transforms.batched_resize import padded
from ibc_pyg.data.transforms.pixels import as_channels
from ibc_pyg.errors import DatasetError, RunError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loading:
    """Settings of a loader.

    Attributes:
        workers: Processes that read images; 0 reads in the main process, which is fastest for
            data sets held in memory. See `suggested_workers`.
        device: Device of the batches; the last part of the transform runs there.
        pin_memory: Whether 8-bit pixels pass through page-locked memory, so that the copy to a
            GPU overlaps with computation; None enables it if `device` is a GPU.
        cache: Decoded images, read instead of the files.
        on_error: Handling of an image that cannot be read. "stop" raises DatasetError while
            iterating. "skip" lists it in `loader.skipped`; a training batch takes another image
            of the class, a test batch is smaller.
        shrink: Whether large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, as long as the
            shorter side keeps `transform.resize` pixels: about twice as fast at 2,000 px.
            Training crops are then taken from the smaller image, as they are from the cache; test
            pixels differ by less than half a grey level on average.
        channels_last: Whether images are channels last in memory, as kernels of a network should be
            then.
    """

    workers: int = 0
    device: torch.device | str = "cpu"
    pin_memory: bool | None = None
    cache: ImageCache | None = None
    on_error: OnError = "stop"
    shrink: bool = False
    channels_last: bool = False

    def source(self, table: ImageTable, transform: Transform) -> ImageSource:
        """Return the source of the images of `table`."""
        if self.cache is None or table.images is not None:
            return open_source(table, shrink_to=transform.resize if self.shrink else None)
        return self.cache.source(table)


class Loader:
    """Batches in the order of their keys.

    Attributes:
        skipped: Why each skipped image could not be read, by its row in the table.
    """

    def __init__(self, dataset: BatchDataset, keys: TrainKeys | EvalKeys, loading: Loading) -> None:
        self.skipped: dict[int, str] = {}
        self.transform = dataset.transform
        self.device = torch.device(loading.device)
        self.channels_last = loading.channels_last
        self._keys = keys
        pin_memory = loading.pin_memory
        self._loader: DataLoader[Pixels | ReadFailure] = DataLoader(
            dataset,
            batch_size=None,
            sampler=keys,
            num_workers=loading.workers,
            collate_fn=_identity,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            persistent_workers=loading.workers > 0,
            worker_init_fn=_ignore_interrupts,
            # DataLoader draws a base seed; its own generator leaves the global one untouched.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches of a whole pass."""
        return len(self._keys)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._raw():
            if isinstance(batch, ReadFailure):
                raise DatasetError(batch.message)
            for image in batch.skipped:
                if image.row not in self.skipped:
                    _logger.warning("skipped: %s", image.reason)
                self.skipped[image.row] = image.reason
            yield self._finish(batch)

    def _raw(self) -> Iterator[Pixels | ReadFailure]:
        try:
            yield from self._loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                "a worker process that reads images was killed, possibly because memory or shared "
                "memory (/dev/shm; in a container: --shm-size) ran out; lower data.workers"
            ) from None

    def _finish(self, batch: Pixels) -> Batch:
        pixels = batch.pixels.to(self.device, non_blocking=True)  # [B, S, S, C]
        labels = batch.labels.to(self.device, non_blocking=True)  # [B]
        if batch.draws is None:
            images = self.transform.normalise(pixels)  # [B, C, S, S]
        else:
            if batch.sizes is not None:
                own = batch.draws[batch.first : batch.first + len(pixels)]
                if batch.encoded is not None:
                    pixels = self._decode(pixels, batch.encoded)  # [B, H, W, C]
                pixels = self.transform.scale_crops(pixels, batch.sizes, own)  # [B, S, S, C]
            images = self.transform.finish(pixels, batch.draws, batch.first)  # [B, C, S, S]
        if not self.channels_last:
            images = images.contiguous()
        return Batch(images, labels, batch.rows, batch.skipped)

    def _decode(self, pixels: Tensor, encoded: EncodedCrops) -> Tensor:
        """Put the crops that are decoded on the device among those of the workers."""
        parts = list(torch.split(pixels, 1))  # B of [1, H, W, C]
        for place, crop in zip(encoded.places, encoded.crops(pixels.device), strict=True):
            crop = as_channels(crop, self.transform.channels)
            parts[place] = crop.permute(1, 2, 0).unsqueeze(0)  # [1, h, w, C]
        return padded(parts)


class TrainLoader(Loader):
    """Training batches, starting at the sampler's position.

    The sampler's position follows the batches that were yielded, not those that workers have
    prefetched, so that a `state_dict()` taken after a step resumes after that step.
    """

    def __init__(self, dataset: BatchDataset, sampler: PKSampler, loading: Loading) -> None:
        super().__init__(dataset, TrainKeys(sampler), loading)
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
    loading: Loading | None = None,
    *,
    seed: int,
) -> TrainLoader:
    """Make the loader of training batches.

    Args:
        table: The training images; the sampler's rows are rows of this table.
        sampler: Draws the batches, sharded if the run has several processes.
        transform: Its `augment` makes the images.
        loading: Workers, device, cache and handling of errors; None takes the defaults.
        seed: Seed of the augmentation, >= 0.
    """
    loading = loading or Loading()
    decoded_later = transform.decodes_on_device and table.images is None
    dataset = BatchDataset(
        FileSource(table, encoded=True) if decoded_later else loading.source(table, transform),
        table.labels,
        transform,
        seed=seed,
        on_error=loading.on_error,
    )
    return TrainLoader(dataset, sampler, loading)


def eval_loader(
    table: ImageTable,
    rows: Rows,
    transform: Transform,
    batch_size: int,
    loading: Loading | None = None,
) -> Loader:
    """Make the loader of test batches: `rows` in order, each exactly once.

    Args:
        table: The images.
        rows: Rows of the table, int64 `[n]`; for several processes, `shard_rows` of them.
        transform: Its `test` makes the images.
        batch_size: Images per batch; the last batch may be smaller.
        loading: Workers, device, cache and handling of errors; None takes the defaults.

    Raises:
        ValueError: If `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    loading = loading or Loading()
    dataset = BatchDataset(
        loading.source(table, transform), table.labels, transform, on_error=loading.on_error
    )
    return Loader(dataset, EvalKeys(rows, batch_size), loading)


def suggested_workers(table: ImageTable, *, cached: bool = False, processes: int = 1) -> int:
    """Return a suitable number of worker processes for this machine.

    0 for a data set held in memory: transforming 96 glyphs takes about a millisecond, less than
    sending them between processes. Decoding takes all CPU cores but one, at most 8, divided among
    the `processes` of a run on this machine; cached images need half as many.
    """
    if table.images is not None:
        return 0
    cores = cpu_count() // max(processes, 1)
    workers = max(1, min(cores - 1, 8))
    return max(1, workers // 2) if cached else workers


def _identity(batch: Any) -> Any:
    """Return the batch unchanged; unlike a lambda, a function can be sent to a worker."""
    return batch


def _ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C to the main process; workers would print tracebacks of their own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

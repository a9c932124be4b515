"""Base class of the PK samplers: plan of an epoch, position in it, share of a process."""

from __future__ import annotations

import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from ibc_pyg.data.sampling.sharding import check_shards, shard_batch
from ibc_pyg.data.table import Rows
from ibc_pyg.errors import ConfigError, RunError

_logger = logging.getLogger(__name__)

# First word of every seed sequence used here: batches and augmentation start from the same seed
# and must not share a random stream.
_STREAM = 1


@dataclass(frozen=True)
class SamplerSettings:
    """Batch shape, seed and share of a PK sampler.

    Attributes:
        classes_per_batch: P, at least 1.
        images_per_class: K, at least 1. Classes with fewer images repeat some.
        seed: Seed of the run, >= 0.
        rank: Rank of this process.
        world_size: Number of processes.
        drop_last: Whether an incomplete last batch is dropped; by default it is filled up, so
            that every epoch contains every image.

    Raises:
        ConfigError: If P, K or the seed is out of range.
    """

    classes_per_batch: int
    images_per_class: int
    seed: int
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("classes_per_batch", "images_per_class"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name}: must be >= 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ConfigError(f"seed: must be >= 0, got {self.seed}")

    @property
    def batch_size(self) -> int:
        """Images in the global batch, P x K."""
        return self.classes_per_batch * self.images_per_class


class PKSampler(Sampler[list[int]], ABC):
    """Batches of P classes x K images, planned one epoch at a time.

    The plan of an epoch depends only on `(labels, P, K, seed, epoch)`: every process makes the
    same plan and takes its contiguous share of each batch, so that the shares joined in rank
    order are one PK batch. `epoch` and `step` are the position of the next batch; saving and
    loading them resumes exactly within an epoch, even with another number of processes.

    Iterating yields the row numbers of this process's share from `step` on, and moves to the
    next epoch with the last of them. `len()` is the number of batches of the whole current epoch.

    Args:
        labels: Class of each row, int `[M]`.
        settings: Batch shape, seed and share of this process.

    Raises:
        ConfigError: If the labels cannot fill a batch, or the batch cannot be sharded.
    """

    def __init__(self, labels: npt.NDArray[np.integer], settings: SamplerSettings) -> None:
        labels = np.asarray(labels, dtype=np.int64)
        order = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[order], return_index=True)
        self.rows_of_class: list[Rows] = np.split(order, starts[1:]) if len(labels) else []
        self.settings = settings
        self.epoch = 0
        self.step = 0
        self._check(len(labels))
        P, K = settings.classes_per_batch, settings.images_per_class
        kind = f"{type(self).__name__} {P} {K} {settings.seed} {settings.drop_last}"
        self._fingerprint = zlib.crc32(labels.tobytes(), zlib.crc32(kind.encode()))
        self._planned: tuple[int, Rows] | None = None
        small = sum(len(rows) < self.largest_images_per_class for rows in self.rows_of_class)
        if small:
            _logger.warning(
                "%d of %d classes have fewer than %d images: their images are repeated in a batch",
                small,
                len(self.rows_of_class),
                self.largest_images_per_class,
            )

    @property
    def batch_size(self) -> int:
        """Images in the global batch, P x K."""
        return self.settings.batch_size

    @property
    def largest_images_per_class(self) -> int:
        """The largest K that a batch can have."""
        return self.settings.images_per_class

    @abstractmethod
    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`."""

    def plan(self, epoch: int) -> Rows:
        """Return the rows of all global batches of `epoch`, int64 `[steps, P * K]`."""
        if self._planned is None or self._planned[0] != epoch:
            rng = np.random.default_rng([_STREAM, self.settings.seed, epoch])
            self._planned = (epoch, self.make_plan(rng))
        return self._planned[1]

    @property
    def share(self) -> slice:
        """This process's part of each global batch."""
        return shard_batch(self.batch_size, self.settings.rank, self.settings.world_size)

    def __len__(self) -> int:
        return len(self.plan(self.epoch))

    def __iter__(self) -> Iterator[list[int]]:
        epoch, plan = self.epoch, self.plan(self.epoch)
        for step in range(self.step, len(plan)):
            # Some loops, as Lightning's Trainer, count batches and never ask for one more.
            self.seek(*((epoch, step + 1) if step + 1 < len(plan) else (epoch + 1, 0)))
            yield plan[step, self.share].tolist()
        if self.epoch == epoch:
            self.seek(epoch + 1, 0)

    def seek(self, epoch: int, step: int) -> None:
        """Set the position of the next batch."""
        self.epoch, self.step = epoch, step

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of `epoch`; within the current epoch the position is kept."""
        if epoch != self.epoch:
            self.seek(epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """Return the position of the next batch, and a fingerprint of labels and settings."""
        return {"epoch": self.epoch, "step": self.step, "fingerprint": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore a saved position.

        Raises:
            RunError: If the position was saved with other labels or settings.
        """
        if state["fingerprint"] != self._fingerprint:
            raise RunError(
                "the saved sampler position belongs to other training images or to another batch "
                "shape, sampler or seed; resume with the settings of that run or start a new one"
            )
        self.seek(state["epoch"], state["step"])

    def _check(self, num_rows: int) -> None:
        P, K = self.settings.classes_per_batch, self.settings.images_per_class
        classes = len(self.rows_of_class)
        if classes < P:
            raise ConfigError(
                f"data.classes_per_batch: {P}, but the training images have only {classes} "
                f"classes; set it to {max(classes, 1)} or less"
            )
        if num_rows < P * K:
            raise ConfigError(
                f"data.images_per_class: a batch of {P} x {K} = {P * K} images is larger than the "
                f"{num_rows} training images; set it to {max(num_rows // P, 1)} or less, or lower "
                "data.classes_per_batch"
            )
        check_shards(P, self.settings.rank, self.settings.world_size)


def chunks_of_class(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Shuffle the rows of one class and cut them into chunks.

    Every row occurs. The last chunk is filled up from the front of the shuffled rows, so that a
    row is repeated within a chunk only if the class has fewer than `size` rows.

    Returns:
        Rows, int64 `[ceil(n / size), size]`.
    """
    count = -(-len(rows) // size)
    places = np.arange(count * size) % len(rows)
    return rng.permutation(rows)[places].reshape(count, size)  # [count, size]

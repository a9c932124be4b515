"""Sharding of batches and rows among the processes of a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import ConfigError


def check_shards(classes_per_batch: int, images_per_class: int, rank: int, world_size: int) -> None:
    """Check that a PK batch can be sharded among the processes.

    Args:
        classes_per_batch: P, classes in the global batch.
        images_per_class: K, images of each class.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        ConfigError: If there are more processes than classes in a batch, or the batch does
            not divide into equal shares (gathering over processes needs them).
        ValueError: If `rank` is not in `[0, world_size)`.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
    if world_size > classes_per_batch:
        raise ConfigError(
            f"data.classes_per_batch: {world_size} processes share a batch of "
            f"{classes_per_batch} classes; start at most {classes_per_batch} processes or raise it"
        )
    batch = classes_per_batch * images_per_class
    if batch % world_size:
        raise ConfigError(
            f"data.classes_per_batch: {classes_per_batch} x {images_per_class} = {batch} images "
            f"cannot be divided equally among {world_size} processes; choose "
            f"data.classes_per_batch or data.images_per_class so that {world_size} divides "
            "their product"
        )


def shard_batch(batch_size: int, rank: int, world_size: int) -> slice:
    """Return the contiguous part of a global batch that belongs to `rank`."""
    share = batch_size // world_size
    return slice(rank * share, (rank + 1) * share)


def shard_rows(rows: npt.NDArray[np.int64], rank: int, world_size: int) -> npt.NDArray[np.int64]:
    """Return the contiguous part of `rows` that belongs to `rank`, for sharded evaluation.

    Parts differ in length by at most one; joined in rank order they are `rows`, without padding
    or repetition.
    """
    return np.array_split(rows, world_size)[rank]

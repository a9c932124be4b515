"""Sharding of batches and rows among the processes of a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import ConfigError


def check_shards(classes_per_batch: int, rank: int, world_size: int) -> None:
    """Check that a PK batch can be sharded among the processes.

    Args:
        classes_per_batch: P, classes in the global batch.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        ConfigError: If there are more processes than classes in a batch.
        ValueError: If `rank` is not in `[0, world_size)`.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
    if world_size > classes_per_batch:
        raise ConfigError(
            f"data.classes_per_batch: {world_size} processes share a batch of "
            f"{classes_per_batch} classes; start at most {classes_per_batch} processes or raise it"
        )


def shard_batch(batch_size: int, rank: int, world_size: int) -> slice:
    """Return the contiguous part of a global batch that belongs to `rank`.

    Parts differ in size by at most one; the larger ones come first.
    """
    size, larger = divmod(batch_size, world_size)
    first = rank * size + min(rank, larger)
    return slice(first, first + size + (rank < larger))


def shard_rows(rows: npt.NDArray[np.int64], rank: int, world_size: int) -> npt.NDArray[np.int64]:
    """Return the contiguous part of `rows` that belongs to `rank`, for sharded evaluation.

    Parts differ in length by at most one; joined in rank order they are `rows`, without padding
    or repetition.
    """
    return np.array_split(rows, world_size)[rank]

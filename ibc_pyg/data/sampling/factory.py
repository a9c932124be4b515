"""Samplers by name."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler
from ibc_pyg.data.sampling.distinct import DistinctSampler
from ibc_pyg.data.sampling.redrawn import RedrawnSampler
from ibc_pyg.data.sampling.walk import WalkSampler
from ibc_pyg.errors import ConfigError

SamplerKind = Literal["walk", "distinct", "redrawn"]

_SAMPLERS: dict[str, type[PKSampler]] = {
    "walk": WalkSampler,
    "distinct": DistinctSampler,
    "redrawn": RedrawnSampler,
}


def make_sampler(
    kind: SamplerKind,
    labels: npt.NDArray[np.integer],
    classes_per_batch: int,
    images_per_class: int,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
) -> PKSampler:
    """Make the PK sampler called `kind`; the other arguments are those of `PKSampler`.

    Raises:
        ConfigError: If there is no such kind, the labels cannot fill a batch, or the batch cannot
            be shared among the processes.
    """
    if kind not in _SAMPLERS:
        raise ConfigError(f"data.sampler: no sampler {kind!r}; choose one of {list(_SAMPLERS)}")
    return _SAMPLERS[kind](
        labels,
        classes_per_batch,
        images_per_class,
        seed=seed,
        rank=rank,
        world_size=world_size,
        drop_last=drop_last,
    )

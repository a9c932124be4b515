"""Samplers by name."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler, SamplerSettings
from ibc_pyg.data.sampling.distinct import DistinctSampler
from ibc_pyg.data.sampling.redrawn import RedrawnSampler
from ibc_pyg.data.sampling.walk import WalkSampler
from ibc_pyg.errors import ConfigError, did_you_mean

SamplerKind = Literal["walk", "distinct", "redrawn"]

_SAMPLERS: dict[str, type[PKSampler]] = {
    "walk": WalkSampler,
    "distinct": DistinctSampler,
    "redrawn": RedrawnSampler,
}


def make_sampler(
    kind: SamplerKind, labels: npt.NDArray[np.integer], settings: SamplerSettings
) -> PKSampler:
    """Make the PK sampler called `kind`; the other arguments are those of `PKSampler`.

    Raises:
        ConfigError: If the kind is unknown, the labels cannot fill a batch, or the batch cannot
            be sharded.
    """
    if kind not in _SAMPLERS:
        raise ConfigError(f"data.sampler: no sampler {kind!r}; {did_you_mean(kind, _SAMPLERS)}")
    return _SAMPLERS[kind](labels, settings)

"""Samplers by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler, SamplerSettings
from ibc_pyg.data.sampling.distinct import DistinctSampler
from ibc_pyg.data.sampling.plugged import make_plugged
from ibc_pyg.data.sampling.redrawn import RedrawnSampler
from ibc_pyg.data.sampling.walk import WalkSampler
from ibc_pyg.errors import ConfigError, did_you_mean
from ibc_pyg.plugins import find_plug

_SAMPLERS: dict[str, type[PKSampler]] = {
    "walk": WalkSampler,
    "distinct": DistinctSampler,
    "redrawn": RedrawnSampler,
}


def make_sampler(
    kind: str,
    labels: npt.NDArray[np.integer],
    settings: SamplerSettings,
    args: Mapping[str, Any] | None = None,
) -> PKSampler:
    """Make the PK sampler called `kind`.

    Args:
        kind: walk, distinct, redrawn, or a reference to code of the user, which is imported.
        labels: As in `PKSampler`.
        settings: As in `PKSampler`.
        args: Arguments of a sampler of the user.

    Raises:
        ConfigError: If the kind is unknown, the labels cannot fill a batch, or the batch cannot
            be sharded.
    """
    if kind in _SAMPLERS:
        return _SAMPLERS[kind](labels, settings)
    plug = find_plug("sampler", kind)
    if plug is None:
        raise ConfigError(f"data.sampler: no sampler {kind!r}; {did_you_mean(kind, _SAMPLERS)}")
    return make_plugged(plug, args or {}, labels, settings)

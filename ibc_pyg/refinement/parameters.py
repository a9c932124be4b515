"""Methods without trained weights, and the parameters that they use unless others are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ibc_pyg.errors import ConfigError


@dataclass(frozen=True)
class Parameters:
    """Parameters of a method.

    Attributes:
        k: Neighbours of a descriptor, >= 0.
        power: Exponent of the cosine as a weight, >= 0.
        rounds: Repetitions, each with the neighbours of the last one's result, >= 1.
        share: Share of the unrefined similarity in the refined one, in [0, 1]; 1 changes nothing.
    """

    k: int
    power: float
    rounds: int
    share: float


VECTORS = ("aqe", "dba", "gcr")
"""Methods that change descriptors."""
LISTS = ("diffusion", "gnn", "k_reciprocal")
"""Methods that change the lists of hits alone."""

POOLED = ("gcr", "gnn", "k_reciprocal")
"""Methods that pool queries and gallery: the answer to a query depends on the other queries."""

DEFAULTS: Mapping[str, Parameters] = {
    "aqe": Parameters(k=2, power=3, rounds=2, share=0.3),
    "dba": Parameters(k=5, power=3, rounds=1, share=0.3),
    "gcr": Parameters(k=5, power=4, rounds=2, share=0.1),
    "diffusion": Parameters(k=10, power=5, rounds=20, share=0.1),
    "gnn": Parameters(k=10, power=4, rounds=2, share=0.1),
    "k_reciprocal": Parameters(k=20, power=1, rounds=1, share=0.3),
}
"""Chosen on training classes, but those of k_reciprocal, which are its paper's; see
docs/refinement.md."""

UNUSED: Mapping[str, tuple[str, ...]] = {"k_reciprocal": ("power", "rounds")}
"""Parameters that a method does not have."""


def parameters_of(
    method: str,
    *,
    k: int | None = None,
    power: float | None = None,
    rounds: int | None = None,
    share: float | None = None,
) -> Parameters:
    """Return the default parameters of a method with those that are given.

    Raises:
        ConfigError: If the method is unknown, has no such parameter, or a value is out of range.
    """
    if method not in DEFAULTS:
        raise ConfigError(f"{method!r} is none of the methods {', '.join(DEFAULTS)}")
    given: dict[str, Any] = {"k": k, "power": power, "rounds": rounds, "share": share}
    values = {name: value for name, value in given.items() if value is not None}
    for name in UNUSED.get(method, ()):
        if name in values:
            raise ConfigError(f"{method} has no parameter {name}; omit it")
    for name, value in values.items():
        least, most = {"rounds": (1, 1000), "share": (0, 1)}.get(name, (0, 100_000))
        if not least <= value <= most:
            raise ConfigError(f"{name} of {method} is {value:g}, expected {least} to {most:,}")
    return replace(DEFAULTS[method], **values)

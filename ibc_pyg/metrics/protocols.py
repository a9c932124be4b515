"""Evaluation protocols of the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    Attributes:
        ks: The K of R@K.
        clustering: Whether NMI, AMI and ARI are defined.
        query_gallery: Whether queries search a separate gallery instead of each other.
    """

    ks: tuple[int, ...] = (1, 2, 4, 8)
    clustering: bool = True
    query_gallery: bool = False


DEFAULT_PROTOCOL = Protocol()

PROTOCOLS: dict[str, Protocol] = {
    "cub": Protocol(),
    "cars": Protocol(),
    "sop": Protocol(ks=(1, 10, 100, 1000)),
    "inshop": Protocol(ks=(1, 10, 20, 30, 40), clustering=False, query_gallery=True),
}


def protocol_for(dataset: str) -> Protocol:
    """Return the protocol of a data set by its name; unknown names have the default protocol."""
    return PROTOCOLS.get(dataset, DEFAULT_PROTOCOL)

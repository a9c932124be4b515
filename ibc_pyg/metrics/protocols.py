"""What each benchmark reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    Attributes:
        ks: the k of R@k.
        clustering: whether NMI, AMI and ARI are defined.
        query_gallery: whether queries search a gallery of their own instead of one another.
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
    """Look up a data set's protocol by its name; any other data set has the default one."""
    return PROTOCOLS.get(dataset, DEFAULT_PROTOCOL)

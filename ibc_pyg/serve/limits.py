"""Bounds of what a client may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body: Bytes of a request body.
        pending: Bytes of all request bodies that are being read or wait.
        queue: Searches that wait; more are refused with status 503.
        batch: Pictures in a forward pass.
        gather: Seconds in which a batch may fill up after its first search.
        seconds: Seconds for a request, and for the sending of its body.
        hits: Largest k.
        vectors: Largest number of vectors in a request.
    """

    body: int = 20 * 2**20
    pending: int = 256 * 2**20
    queue: int = 512
    batch: int = 32
    gather: float = 0.005
    seconds: float = 30.0
    hits: int = 1000
    vectors: int = 64

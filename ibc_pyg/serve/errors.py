"""Errors of requests, with their HTTP status."""

from __future__ import annotations

from collections.abc import Mapping


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        sentence: What is wrong, for people.
        headers: Further headers of the answer.

    Attributes:
        status, sentence, headers: As above.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def busy() -> RefusedError:
    """Return the refusal of a server that has too much to do."""
    return RefusedError(503, "too many searches wait; try again in a second", {"Retry-After": "1"})

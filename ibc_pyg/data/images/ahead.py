"""Function calls in threads, some of them ahead of the consumer of their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[R]:
    """Call a function on each item in threads, and yield the results in the order of the items.

    Args:
        function: The function.
        items: Its arguments; they are taken in the thread of the consumer.
        threads: Number of threads.
        ahead: Most calls that are pending or whose results wait, which bounds the memory.
    """
    waiting = iter(items)
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for item in islice(waiting, ahead - len(pending)):
                    pending.append(pool.submit(function, item))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()

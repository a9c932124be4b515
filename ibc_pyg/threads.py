"""Independent pieces of tensor work on threads.

torch divides every operation among OpenMP threads and waits for the slowest of them. Beside other
busy processes each of these waits lasts until the scheduler runs the thread that is missing.
Threads that each take a whole piece wait once, at the end, and whoever is ahead takes more pieces.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(device: torch.device) -> int:
    """Return how many pieces run at once: torch's threads on the CPU, one on other devices."""
    return torch.get_num_threads() if device.type == "cpu" else 1


@functools.cache
def _pools() -> ThreadpoolController:
    """Find the OpenMP libraries of the process, torch's among them."""
    return ThreadpoolController()


def _single_threaded() -> None:
    """Divide no operation of the calling thread among others."""
    torch.get_num_threads()  # torch sets the count of a new thread when first asked
    _pools().limit(limits=1, user_api="openmp")  # holds for the calling thread alone
    torch.set_grad_enabled(False)


def call_in_one_thread(function: Callable[[], Result]) -> Result:
    """Call a function of many small operations, which gain nothing from several threads."""
    with ThreadPoolExecutor(1, initializer=_single_threaded) as pool:
        return pool.submit(function).result()


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Result]:
    """Apply a function to every item, several at a time, without gradient.

    Within a piece torch uses one thread. A single piece, and pieces on another device than the
    CPU, run in the caller's thread.

    Args:
        function: Called from several threads.
        items: Consumed in the caller's thread, at most two for each thread ahead of the results.
        device: Device of the tensors.

    Yields:
        The results, in the order of the items.

    Raises:
        Exception: The first error of the function.
    """
    threads = thread_count(device)
    rest = iter(items)
    head = list(islice(rest, 2))
    rest = chain(head, rest)
    if threads == 1 or len(head) < 2:
        for item in rest:
            with torch.no_grad():
                result = function(item)
            yield result
        return
    _pools()  # found once, before the threads need it
    with ThreadPoolExecutor(threads, initializer=_single_threaded) as pool:
        yield from map_ahead(pool, function, rest, 2 * threads)


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Apply a function to every item in a pool, a bounded number of items ahead.

    Args:
        pool: Executor of the calls.
        function: Called with each item.
        items: Consumed in the caller's thread, at most `ahead` of them before their results.
        ahead: At least 1.

    Yields:
        The results, in the order of the items.

    Raises:
        Exception: The first error of the function; calls that have not begun are cancelled.
    """
    rest = iter(items)
    pending: deque[Future[Result]] = deque()
    try:
        while True:
            fresh = islice(rest, ahead - len(pending))
            pending.extend(pool.submit(function, item) for item in fresh)
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()

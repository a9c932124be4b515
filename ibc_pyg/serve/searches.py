"""The thread that owns the model: it embeds and searches for all requests that wait at once."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ibc_pyg.errors import RunError, UserError
from ibc_pyg.retrieval.hits import Hit
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.queries import Queries
from ibc_pyg.serve.limits import Limits
from ibc_pyg.serve.statistics import Statistics

_logger = logging.getLogger(__name__)


class BusyError(Exception):
    """Too many searches wait."""


@dataclass(frozen=True)
class Search:
    """Search of a request.

    Attributes:
        pixels: A decoded picture, `[1, S, S, C]`; None if there are vectors.
        vectors: Float32 `[Q, D]`; None if there is a picture.
        digest: SHA-256 of the file of the picture, or None.
        k: Number of hits.
        labels: Classes that are searched; none searches all.
    """

    pixels: Tensor | None = None
    vectors: npt.NDArray[np.float32] | None = None
    digest: bytes | None = None
    k: int = 10
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Job:
    search: Search
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[list[Hit]]]


class Searches:
    """Searches of all requests, done in batches by one thread.

    Args:
        index: The index; it is opened again if its model was replaced.
        limits: Bounds of queue and batch.
        statistics: Counts of batches and pictures.
    """

    def __init__(self, index: Index, limits: Limits, statistics: Statistics) -> None:
        self.index = index
        self._limits, self._statistics = limits, statistics
        self._waiting: queue.Queue[_Job | None] = queue.Queue(limits.queue)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the model and start the thread.

        Raises:
            RunError: If the model is missing or another one.
        """
        self.index.model()
        self._thread = threading.Thread(target=self._run, name="searches", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end the thread."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    @property
    def waiting(self) -> int:
        """Number of searches that wait."""
        return self._waiting.qsize()

    async def answer(self, search: Search) -> list[list[Hit]]:
        """Wait for the hits of each query of a search.

        Raises:
            BusyError: If too many searches wait.
            UserError: If the search fails.
        """
        loop = asyncio.get_running_loop()
        job = _Job(search, loop, loop.create_future())
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            raise BusyError from None
        return await job.answer

    def _run(self) -> None:
        ending = False
        while not ending:
            jobs = [self._waiting.get()]
            until = time.monotonic() + self._limits.gather
            while jobs[-1] is not None and len(jobs) < self._limits.batch:
                try:
                    jobs.append(self._waiting.get(timeout=max(0.0, until - time.monotonic())))
                except queue.Empty:
                    break
            ending = jobs[-1] is None
            # A request that was given up is not worth a forward pass.
            wanted = [job for job in jobs if job is not None and not job.answer.cancelled()]
            if wanted:
                self._answer(wanted)

    def _answer(self, jobs: Sequence[_Job]) -> None:
        try:
            results = self._search([job.search for job in jobs])
        except Exception as error:
            if not isinstance(error, UserError):
                _logger.exception("a search failed")
            for job in jobs:
                _tell(job, error)
            return
        for job, result in zip(jobs, results, strict=True):
            _tell(job, result)

    def _search(self, searches: Sequence[Search]) -> list[list[list[Hit]]]:
        try:
            return self._embed_and_search(searches)
        except RunError:
            if not self._reopened():
                raise
            return self._embed_and_search(searches)

    def _reopened(self) -> bool:
        """Open the index again if all of it was embedded by another model meanwhile."""
        fresh = Index.open(self.index.path)
        if fresh.fingerprint == self.index.fingerprint:
            fresh.close()
            return False
        fresh.model()
        self.index = fresh
        return True

    def _embed_and_search(self, searches: Sequence[Search]) -> list[list[list[Hit]]]:
        pictures = [each.pixels for each in searches if each.pixels is not None]
        embedded = iter(self.index.model().embed_prepared(pictures))
        vectors = [
            next(embedded)[None] if each.vectors is None else each.vectors for each in searches
        ]  # [Q, D] each
        self._statistics.batch(len(pictures))
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for number, each in enumerate(searches):
            groups.setdefault((each.k, each.labels), []).append(number)
        results: dict[int, list[list[Hit]]] = {}
        for (k, labels), numbers in groups.items():
            queries = Queries(
                np.concatenate([vectors[number] for number in numbers]),  # [Q, D]
                [searches[number].digest for number in numbers for _ in vectors[number]],
                False,
            )
            where = {"label": labels} if labels else None
            lists = iter(self.index.search_queries(queries, k, where))
            for number in numbers:
                results[number] = [next(lists) for _ in vectors[number]]
        return [results[number] for number in range(len(searches))]


def _tell(job: _Job, result: list[list[Hit]] | Exception) -> None:
    def done() -> None:
        if job.answer.done():
            return
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)

    job.loop.call_soon_threadsafe(done)

"""Addresses of the server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from starlette.responses import PlainTextResponse, Response
from torch import Tensor

from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.errors import ConfigError, DatasetError
from ibc_pyg.pages import colours
from ibc_pyg.serve.answers import (
    AboutAnswer,
    ErrorAnswer,
    HealthAnswer,
    SearchAnswer,
    VectorsAnswer,
    VectorsRequest,
    search_answer,
)
from ibc_pyg.serve.errors import RefusedError
from ibc_pyg.serve.limits import Limits
from ibc_pyg.serve.searches import BusyError, Search, Searches
from ibc_pyg.serve.statistics import Statistics
from ibc_pyg.serve.thumbnails import SIDES, thumbnail
from ibc_pyg.serve.uploads import check_picture

_STATIC = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 408, 413, 415, 422, 500, 503)
}
_PICTURE = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
        },
    }
}
_Row = Annotated[int, Path(ge=0, lt=2**63, description="Row in the index")]
_Label = Annotated[list[str], Query(description="Only pictures of these classes")]


class Turns:
    """Requests with a picture: more than two batches at once would only take cores from the model.

    Args:
        most: Requests that are worked on.

    Attributes:
        free: How many more may be worked on.
        waiting: Requests that wait for that.
    """

    def __init__(self, most: int) -> None:
        self.free = asyncio.Semaphore(most)
        self.waiting = 0


@dataclass(frozen=True)
class Server:
    """State that the routes share.

    Attributes:
        searches: The thread that searches.
        limits: Bounds of requests.
        statistics: Counts.
        turns: Requests with a picture that may be worked on.
        pool: Threads that decode pictures.
    """

    searches: Searches
    limits: Limits
    statistics: Statistics
    turns: Turns
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(decoding_threads(), "decode")
    )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the pictures of two batches or fewer are decoded or wait for the model.

        Raises:
            BusyError: If too many requests wait for that.
        """
        if self.turns.waiting >= self.limits.queue:
            raise BusyError
        self.turns.waiting += 1
        try:
            await self.turns.free.acquire()
        finally:
            self.turns.waiting -= 1
        try:
            yield
        finally:
            self.turns.free.release()

    async def decoded(self, body: bytes) -> Tensor:
        """Decode a picture to the input of the network.

        Raises:
            RefusedError: If it is none, or damaged.
        """
        check_picture(body)
        prepare = self.searches.index.model().prepare
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.pool, prepare, body, "the picture")
        except DatasetError as error:
            raise RefusedError(
                422, f"{str(error).partition(';')[0]}; send another picture"
            ) from error

    def checked_k(self, k: int) -> int:
        """Check a number of hits."""
        if k > self.limits.hits:
            raise RefusedError(422, f"k is {k}, but at most {self.limits.hits} hits are answered")
        return k

    def checked_labels(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Check the classes of a filter."""
        try:
            self.searches.index.check_labels(labels)
        except ConfigError as error:
            raise RefusedError(422, f"label: {error}") from error
        return tuple(labels)


def add_routes(app: FastAPI, server: Server) -> None:
    """Add all routes to an application."""
    _add_page(app)
    _add_searches(app, server)
    _add_state(app, server)


def _add_page(app: FastAPI) -> None:
    folder = files("ibc_pyg.serve").joinpath("static")

    def send(content: bytes, kind: str) -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    for address, (name, kind) in _STATIC.items():
        content = folder.joinpath(name).read_text()
        content = colours() + content if kind == "text/css" else content
        endpoint = partial(send, content.encode(), kind)
        app.add_api_route(address, endpoint, methods=["GET"], include_in_schema=False)


def _add_searches(app: FastAPI, server: Server) -> None:
    @app.post(
        "/api/search",
        response_model=SearchAnswer,
        responses=_ERRORS,
        openapi_extra=_PICTURE,
        operation_id="search",
    )
    async def search(
        request: Request,
        k: Annotated[int, Query(ge=1)] = 10,
        label: _Label = [],  # noqa: B006
    ) -> SearchAnswer:
        """Find the pictures most similar to the one in the body."""
        body = await request.body()
        wanted, labels = server.checked_k(k), server.checked_labels(label)
        async with server.turn():
            pixels = await server.decoded(body)
            digest = hashlib.sha256(body).digest()
            found = await server.searches.answer(
                Search(pixels, digest=digest, k=wanted, labels=labels)
            )
        return search_answer(found[0])

    @app.post(
        "/api/vectors", response_model=VectorsAnswer, responses=_ERRORS, operation_id="vectors"
    )
    async def vectors(query: VectorsRequest) -> VectorsAnswer:
        """Find the pictures most similar to vectors."""
        x = _matrix(query.vectors, server.searches.index.dim, server.limits.vectors)
        k, labels = server.checked_k(query.k), server.checked_labels(query.label)
        found = await server.searches.answer(Search(vectors=x, k=k, labels=labels))
        return VectorsAnswer(results=[search_answer(hits) for hits in found])

    @app.get(
        "/api/similar/{row}",
        response_model=SearchAnswer,
        responses=_ERRORS,
        operation_id="similar",
    )
    async def similar(
        row: _Row,
        k: Annotated[int, Query(ge=1)] = 10,
        label: _Label = [],  # noqa: B006
    ) -> SearchAnswer:
        """Find the pictures most similar to one of the index, without itself."""
        index = server.searches.index
        wanted, labels = server.checked_k(k), server.checked_labels(label)
        if index.file_of(row) is None:
            raise RefusedError(404, f"the index has no picture {row}")
        x = np.array(index.vectors[row : row + 1])  # [1, D]
        found = await server.searches.answer(Search(vectors=x, k=wanted + 1, labels=labels))
        others = [hit for hit in found[0] if hit.row != row][:wanted]
        return search_answer([replace(hit, rank=rank) for rank, hit in enumerate(others, 1)])


def _add_state(app: FastAPI, server: Server) -> None:
    @app.get(
        "/api/image/{row}",
        response_class=Response,
        responses=_ERRORS | {200: {"content": {"image/jpeg": {}}}},
        operation_id="image",
    )
    async def image(row: _Row, side: int = SIDES[0]) -> Response:
        """Return a picture of the index, scaled down."""
        if side not in SIDES:
            raise RefusedError(422, f"side is {side}, expected one of {', '.join(map(str, SIDES))}")
        file = server.searches.index.file_of(row)
        if file is None:
            raise RefusedError(404, f"the index has no picture {row}")
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(server.pool, thumbnail, file, side)
        headers = {"Cache-Control": "private, max-age=300"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/api/about", response_model=AboutAnswer, responses=_ERRORS, operation_id="about")
    def about() -> AboutAnswer:
        """Return what is served."""
        index = server.searches.index
        return AboutAnswer(
            pictures=len(index),
            labels=index.labels(),
            model=str(index.fingerprint),
            dim=index.dim,
            calibrated=index.calibration is not None,
        )

    @app.get("/health", response_model=HealthAnswer, responses=_ERRORS, operation_id="health")
    def health() -> HealthAnswer:
        """Tell that the server answers."""
        return HealthAnswer(status="ok", pictures=len(server.searches.index))

    @app.get("/metrics", response_class=PlainTextResponse, operation_id="metrics")
    def metrics() -> PlainTextResponse:
        """Return counts and times for Prometheus."""
        text = server.statistics.text(
            queue=server.searches.waiting + server.turns.waiting,
            pictures=len(server.searches.index),
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _matrix(rows: Sequence[Sequence[float]], dim: int, most: int) -> Any:
    """Return vectors as float32 `[Q, D]`."""
    if len(rows) > most:
        raise RefusedError(422, f"{len(rows)} vectors were sent, at most {most} are answered")
    if any(len(row) != dim for row in rows):
        raise RefusedError(422, f"each vector must have {dim} numbers")
    with np.errstate(over="ignore"):
        x = np.array(rows, np.float64).astype(np.float32)  # [Q, D]
    if not np.isfinite(x).all():
        raise RefusedError(422, "a number is too large for float32")
    return x

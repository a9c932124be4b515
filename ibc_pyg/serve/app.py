"""The application: the page, the JSON interface, health and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

import ibc_pyg
from ibc_pyg.errors import UserError
from ibc_pyg.retrieval.index import Index
from ibc_pyg.serve.errors import RefusedError, busy
from ibc_pyg.serve.guard import LOOPBACK, Guard
from ibc_pyg.serve.limits import Limits
from ibc_pyg.serve.routes import Server, Turns, add_routes
from ibc_pyg.serve.searches import BusyError, Searches
from ibc_pyg.serve.statistics import Statistics


def create_app(
    index: Index,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Iterable[str] = LOOPBACK,
) -> FastAPI:
    """Return the ASGI application of an index.

    The index may change while it is served: each search sees its last commit. Uploads stay in
    memory. The model is opened when the application starts.

    Args:
        index: An open index; it stays open when the application ends.
        limits: Bounds of requests.
        token: Clients must send `Authorization: Bearer TOKEN`, or open `/?token=TOKEN` once.
        hosts: Names under which the server is reached, without port; requests to others, and from
            pages of others, are refused.
    """
    limits = limits or Limits()
    statistics = Statistics()
    searches = Searches(index, limits, statistics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        searches.start()
        yield
        searches.stop()

    app = FastAPI(
        title="ibc_pyg",
        summary="Search for similar pictures",
        version=ibc_pyg.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    names = tuple(hosts)
    app.add_middleware(Guard, limits=limits, statistics=statistics, hosts=names, token=token)
    add_routes(app, Server(searches, limits, statistics, Turns(2 * limits.batch)))
    _add_errors(app)
    return app


def _add_errors(app: FastAPI) -> None:
    """Answer every error with `{"error": sentence}`."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(BusyError)
    async def too_many(request: Request, error: BusyError) -> JSONResponse:
        return _answer(busy())

    @app.exception_handler(UserError)
    async def failed(request: Request, error: UserError) -> JSONResponse:
        return _answer(RefusedError(500, f"the index cannot be searched: {error}"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = " ".join(str(word) for word in first["loc"][1:]) or "the body"
        sentence = f"{place}: {first['msg']}"
        if first["type"] == "model_attributes_type":
            sentence = "the body must be a JSON object, sent with Content-Type: application/json"
        return _answer(RefusedError(422, sentence))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        sentences = {404: "there is no such page", 405: "this address takes other methods"}
        return _answer(
            RefusedError(error.status_code, sentences.get(error.status_code, error.detail))
        )

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return _answer(RefusedError(500, "the server failed; its log says why"))


def _answer(refusal: RefusedError) -> JSONResponse:
    return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)

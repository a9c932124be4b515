"""Checks of every request before it reaches a route: where it comes from, its size, its time."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ibc_pyg.serve.errors import RefusedError, busy
from ibc_pyg.serve.limits import Limits
from ibc_pyg.serve.statistics import Statistics

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "ibc_pyg_token"
_PATIENCE = 2.0
"""Seconds for which the rest of a refused body is read."""
_OPEN = ("/health",)
"""Paths that need no token."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    A page of another site must not reach a server on loopback by a name that its owner lets point
    there, nor by a request of a visitor's browser: the host and the origin of a request must be
    names of this server.

    Args:
        app: The application.
        limits: Bounds of bodies and time.
        statistics: Counts of requests.
        hosts: Names of this server, without port.
        token: What a client must know; None asks for nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        statistics: Statistics,
        hosts: Iterable[str] = LOOPBACK,
        token: str | None = None,
    ) -> None:
        self._app, self._limits, self._statistics = app, limits, statistics
        self._hosts, self._token = frozenset(hosts), token
        self._pending = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, sent = time.monotonic(), 0
        held = _Held()

        async def reply(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.start":
                sent = int(message["status"])
                given = {name.lower() for name, _ in message.get("headers", [])}
                more = [(n.encode(), v.encode()) for n, v in _HEADERS.items()]
                extra = [pair for pair in more if pair[0] not in given]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        try:
            headers = _headers(scope)
            self._check_place(scope, headers)
            if (cookie := self._check_token(scope, headers)) is not None:
                await _redirect(reply, cookie)
                return
            async with asyncio.timeout(self._limits.seconds):
                replay = await self._read(scope, headers, receive, held)
                await self._app(scope, replay, reply)
        except TimeoutError:
            if not sent:
                what = "the body came too slowly" if held.reading else "the search took too long"
                await _refuse(reply, RefusedError(408 if held.reading else 503, what, _CLOSE))
        except RefusedError as refusal:
            if not sent:
                if held.reading:
                    await _drain(receive, 8 * self._limits.body)
                await _refuse(reply, refusal)
        finally:
            self._pending -= held.size
            route = getattr(scope.get("route"), "path", "other")
            self._statistics.request(route, sent, time.monotonic() - start)

    def _check_place(self, scope: Scope, headers: MutableMapping[str, str]) -> None:
        if _name(headers.get("host", "")) not in self._hosts:
            raise RefusedError(400, "the request names another host than this server")
        origin = headers.get("origin")
        if origin is not None and _name(urlsplit(origin).netloc) not in self._hosts:
            raise RefusedError(403, "requests from pages of another site are not answered")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RefusedError(403, "requests from pages of another site are not answered")

    def _check_token(self, scope: Scope, headers: MutableMapping[str, str]) -> str | None:
        """Refuse a request without the token; return the cookie if it is in the address."""
        if self._token is None or scope["path"] in _OPEN:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._equal(given):
            return f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        bearer = headers.get("authorization", "").partition("Bearer ")[2]
        if not (self._equal(bearer) or self._equal(_cookie(headers.get("cookie", "")))):
            raise RefusedError(
                401,
                "a token is needed: open /?token=TOKEN, or send Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    def _equal(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    async def _read(
        self, scope: Scope, headers: MutableMapping[str, str], receive: Receive, held: _Held
    ) -> Receive:
        """Read the body, counting its bytes as they come, and return a source of it."""
        if scope["method"] in ("GET", "HEAD"):
            return receive
        held.reading = True
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise RefusedError(
                415, "compressed bodies are not read; send the picture as it is", _CLOSE
            )
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal():
            raise RefusedError(400, "Content-Length is not a number", _CLOSE)
        self._check_size(int(length))
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the connection ended before the body did", _CLOSE)
            part = message.get("body", b"")
            held.size += len(part)
            self._pending += len(part)
            self._check_size(held.size)
            if self._pending > self._limits.pending:
                raise busy()
            parts.append(part)
            if not message.get("more_body", False):
                break
        held.reading = False
        body, given = b"".join(parts), False
        parts.clear()

        async def replay() -> Message:
            nonlocal given, body
            if given:
                return await receive()
            given = True
            message: Message = {"type": "http.request", "body": body, "more_body": False}
            body = b""
            return message

        return replay

    def _check_size(self, size: int) -> None:
        if size > self._limits.body:
            raise RefusedError(
                413, f"a body may have {self._limits.body / 2**20:g} MiB; send a smaller picture",
                _CLOSE,
            )  # fmt: skip


_CLOSE = {"Connection": "close"}


class _Held:
    """Body of a request, while it is in memory: its bytes, and whether more are expected."""

    def __init__(self) -> None:
        self.size, self.reading = 0, False


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in ("host", "content-length") and key in found:
            raise RefusedError(400, f"the header {key} stands twice", _CLOSE)
        found[key] = value.decode("latin-1")
    return found


def _name(host: str) -> str:
    """Return a host without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


async def _drain(receive: Receive, most: int) -> None:
    """Read on for a moment: a client that still sends would not see the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


async def _redirect(send: Send, cookie: str) -> None:
    headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, refusal: RefusedError) -> None:
    body = json.dumps({"error": refusal.sentence}).encode()
    fixed: dict[str, Any] = {"content-type": "application/json", "content-length": len(body)}
    headers = [(n.encode(), str(v).encode()) for n, v in (fixed | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

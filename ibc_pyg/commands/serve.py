"""Serve a web page for searching an index, and its JSON API."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.index.options import add_model, open_index
from ibc_pyg.commands.options.numbers import whole
from ibc_pyg.commands.options.process import keep_freed_memory

NAME = "serve"
HELP = "serve a web page for searching an index"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("index", type=Path, metavar="INDEX")
    add("--port", type=whole(0, 65535), default=8000, help="port; 0: any free one")
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; any but loopback needs --token (default: 127.0.0.1)",
    )
    add(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="name under which clients reach the server, such as that of a proxy; may be repeated",
    )
    add("--token", metavar="TOKEN", help="secret for clients; at least 16 characters")
    add("--queue", type=whole(1, 100_000), default=512, help="searches that may wait")
    add_model(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.errors import UserError

    loopback = arguments.host in ("127.0.0.1", "::1", "localhost")
    if not loopback and arguments.token is None:
        raise UserError(
            f"--host {arguments.host} can be reached from other machines; add --token TOKEN"
        )
    if arguments.token is not None and (
        len(arguments.token) < 16 or not arguments.token.isascii() or " " in arguments.token
    ):
        raise UserError("--token must have at least 16 characters, ASCII without spaces")
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"serving needs {error.name}, which is not installed: pip install 'ibc-pyg[serve]'"
        ) from error
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.serve import Limits, create_app
    from ibc_pyg.serve.guard import LOOPBACK

    keep_freed_memory()
    with open_index(arguments) as index, listening(arguments.host, arguments.port) as listener:
        index.model()
        app = create_app(
            index,
            limits=Limits(queue=arguments.queue),
            token=arguments.token,
            hosts=(*LOOPBACK, arguments.host, *(name.lower() for name in arguments.name)),
        )
        port = listener.getsockname()[1]
        shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        query = "" if arguments.token is None else "/?token=TOKEN"
        info(console(), f"{len(index):,} pictures; open http://{shown}:{port}{query}")
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, access_log=False, proxy_headers=False
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that a port in use is one line."""
    from ibc_pyg.errors import UserError, reason

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        message = f"{host}:{port} cannot be listened at: {reason(error)}; choose --port"
        raise UserError(message) from error
    made.listen(2048)
    return made

"""A server in this process, on a free port of loopback."""

import asyncio
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from ibc_pyg.serve import create_app


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    app: FastAPI
    port: int

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def raw(self, request, *, wait=10.0):
        """Send bytes and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(request)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)


@contextmanager
def served(index, **options):
    app = create_app(index, **options)
    config = uvicorn.Config(app, port=0, log_level="error", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server does not start"
    try:
        yield Served(app, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)

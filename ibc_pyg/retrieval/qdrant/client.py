"""Connection to a Qdrant server, and errors for people."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ibc_pyg.errors import ConfigError, RunError, UserError, printable, reason, shown

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

API_KEY = "QDRANT_API_KEY"
"""Environment variable of the key of the server."""
_TIMEOUT = 60

_logger = logging.getLogger(__name__)


def import_qdrant() -> Any:
    """Return the package qdrant_client.

    Raises:
        RunError: If it is not installed.
    """
    try:
        import qdrant_client
    except ImportError as error:
        raise RunError(
            "Qdrant needs qdrant-client, which is not installed (pip install 'ibc-pyg[qdrant]')"
        ) from error
    return qdrant_client


@contextmanager
def connected(url: str) -> Iterator[QdrantClient]:
    """Yield a client of a server.

    Args:
        url: `http://HOST:PORT` or https. A folder is refused: the local mode of Qdrant unpickles
            what it finds there.

    Raises:
        ConfigError: If it is anything else.
        RunError: If the package is missing.
    """
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
        raise ConfigError(
            f"--qdrant must be the URL of a server, such as http://localhost:6333, not "
            f"{shown(url)}; local folders of Qdrant are not opened, because they hold pickles"
        )
    qdrant = import_qdrant()
    with explained(url), _warnings_as_lines():
        # Its own check of versions warns from a thread, at any time.
        client = qdrant.QdrantClient(
            url=url,
            api_key=os.environ.get(API_KEY),
            timeout=_TIMEOUT,
            check_compatibility=False,
        )
        try:
            _check_version(client, version("qdrant-client"))
            yield client
        finally:
            client.close()


def _check_version(client: QdrantClient, own: str) -> None:
    from qdrant_client.common.version_check import is_compatible

    server = client.info().version
    if not is_compatible(own, server):
        _logger.warning(
            "qdrant-client %s and the server %s may not understand each other; their minor "
            "versions should differ by at most one",
            own,
            printable(server),
        )


def refuse_folder(client: QdrantClient) -> None:
    """Check that a client is not of a local folder.

    Raises:
        ConfigError: If it is.
    """
    if getattr(client._client, "persistent", False):
        raise ConfigError(
            "a local folder of Qdrant holds pickles, and is not used; connect to a server"
        )


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn errors of the client into one line.

    Raises:
        RunError: If the server cannot be reached, or refuses.
    """
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except UserError:
        raise
    except (ApiException, QdrantException, OSError, ValueError) as error:
        why = reason(error) if str(error) else type(error).__name__
        raise RunError(f"{printable(place)}: {why}") from error


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Log warnings on one line each."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _logger.warning("%s", printable(" ".join(str(message).split())))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

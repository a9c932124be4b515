"""Whether a Weights & Biases run can be online: a key and a server, asked without waiting long."""

from __future__ import annotations

import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CLOUD = "https://api.wandb.ai"
PROBE_TIMEOUT = 5.0


def why_not_online(wandb: Any, *, timeout: float = PROBE_TIMEOUT) -> str | None:
    """Say why a run cannot be online.

    Args:
        wandb: The module, whose settings name the server and may hold a key.
        timeout: Seconds that the server has to answer.

    Returns:
        A few words, or None if there is a key and the server answers.
    """
    settings = wandb.setup().settings
    server = settings.base_url
    # Newer releases of the library reach the public cloud under another name, with the same keys.
    is_cloud = server == wandb.Settings.model_fields["base_url"].default
    if not (settings.api_key or has_key(server, *([CLOUD] if is_cloud else []))):
        return f"no API key for {urlsplit(server).hostname}: run `wandb login`"
    if not answers(server, timeout):
        return f"{urlsplit(server).hostname} does not answer"
    return None


def has_key(*servers: str) -> bool:
    """Tell whether the environment or the user's netrc file holds a key for one of `servers`."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            entries = netrc.netrc(str(Path(file).expanduser())).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        hosts = {urlsplit(server).netloc for server in servers} & entries.keys()
        if any(entries[host][2] for host in hosts):
            return True
    return False


def answers(server: str, timeout: float) -> bool:
    """Tell whether `server` gives any HTTP answer but a server error within `timeout` seconds.

    The question runs in a thread of its own, because looking up a name has no time limit.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(server, timeout=timeout).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return answered.is_set()

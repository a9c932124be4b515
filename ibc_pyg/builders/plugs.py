"""Import of all code of the user that an experiment refers to."""

from __future__ import annotations

from ibc_pyg.config import Config
from ibc_pyg.config.plugged import plugged
from ibc_pyg.plugins import load_plug


def import_plugs(config: Config) -> None:
    """Import the code of the user, so that a mistake in a name is found before anything is built.

    Raises:
        ConfigError: If a reference cannot be imported, or a tracker has no `log`.
    """
    for each in plugged(config):
        if each.kind.name == "graph layer":  # with the model, since it may be a dotted path
            continue
        plug = load_plug(each.kind.name, each.name)
        is_tracker = each.kind.name == "tracker" and isinstance(plug.target, type)
        if is_tracker and not callable(getattr(plug.target, "log", None)):
            plug.refuse(plug.kind.expected, f"{plug.name} without log")

"""Trackers of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ibc_pyg.plugins import load_plug
from ibc_pyg.track.base import Picture, Record


class PluggedTracker:
    """Tracker of the user; methods that it lacks do nothing, except `log`.

    Args:
        name: Reference to its class, which is imported, or an entry point.
        run_dir: Run folder, supplied where the class names it.
        config: Configuration as nested dictionaries, supplied where the class names it.

    Raises:
        ConfigError: If it cannot be made, or has no `log`.
    """

    def __init__(self, name: str, *, run_dir: Path, config: Mapping[str, Any]) -> None:
        plug = load_plug("tracker", name)
        self._tracker = plug.make({}, run_dir=run_dir, config=config)
        if not callable(getattr(self._tracker, "log", None)):
            plug.refuse(plug.kind.expected, f"{type(self._tracker).__name__} without log")
        self._name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars; see `Tracker.log`."""
        self._tracker.log(step, {name: float(value) for name, value in values.items()})

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        """Record a picture; see `Tracker.image`."""
        self._call("image", step, name, picture, caption)

    def summary(self, values: Mapping[str, float]) -> None:
        """Record the final metrics; see `Tracker.summary`."""
        self._call("summary", dict(values))

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        """Keep files; see `Tracker.artifact`."""
        self._call("artifact", name, kind, files)

    def rewind(self, records: Sequence[Record]) -> None:
        """Go back to an earlier state; see `Tracker.rewind`."""
        self._call("rewind", records)

    def close(self) -> None:
        """Flush pending records; may be called twice."""
        self._call("close")

    def _call(self, method: str, *arguments: Any) -> None:
        call = getattr(self._tracker, method, None)
        if call is not None:
            call(*arguments)

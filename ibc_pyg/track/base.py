"""The interface of trackers, and a tracker that passes records on to several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ibc_pyg.errors import UserError

_logger = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint8]
"""An RGB picture, uint8 `[H, W, 3]`."""

Record = dict[str, float | None]
"""Scalars of a step: `step`, `time` (seconds since 1970) and values; None where not finite."""


@runtime_checkable
class Tracker(Protocol):
    """Receives the numbers and pictures of a run, in ascending order of steps."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars.

        Args:
            step: Number of optimiser steps done.
            values: Name to value; several calls may share a step.
        """

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        """Record a picture.

        Args:
            step: Number of optimiser steps done.
            name: Name of the series, the same at every step.
            picture: RGB, uint8 `[H, W, 3]`.
            caption: A line of text below it.
        """

    def summary(self, values: Mapping[str, float]) -> None:
        """Record the final metrics of the run, as fractions in [0, 1]."""

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        """Keep files with the run.

        Args:
            name: Name of the files together, the same for every run of a kind.
            kind: What they are, such as `report` or `table`.
            files: Existing files.
        """

    def rewind(self, records: Sequence[Record]) -> None:
        """Go back to an earlier state of the run, from which it is trained again.

        Args:
            records: All scalars recorded until then.
        """

    def close(self) -> None:
        """Flush pending records; may be called twice."""


class MultiTracker:
    """Passes every record on to all trackers; a failing tracker does not stop the others.

    The first exception of a tracker is logged as a warning, and the tracker is still called
    afterwards, since one failed write should not lose later records. Only a `UserError` is raised:
    the run's own record cannot be written, as on a full disk.

    Args:
        trackers: Where the records go, in this order.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)
        self._warned: set[int] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.trackers)!r})"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars with every tracker; see `Tracker.log`."""
        self._each(lambda tracker: tracker.log(step, values))

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        """Record a picture with every tracker; see `Tracker.image`."""
        self._each(lambda tracker: tracker.image(step, name, picture, caption))

    def summary(self, values: Mapping[str, float]) -> None:
        """Record the final metrics with every tracker; see `Tracker.summary`."""
        self._each(lambda tracker: tracker.summary(values))

    def artifact(self, name: str, kind: str, files: Sequence[Path]) -> None:
        """Keep files with every tracker; see `Tracker.artifact`."""
        self._each(lambda tracker: tracker.artifact(name, kind, files))

    @property
    def uploads(self) -> list[str]:
        """Commands that upload what the trackers wrote offline."""
        commands = (getattr(tracker, "upload_command", None) for tracker in self.trackers)
        return [command for command in commands if command is not None]

    def rewind(self, records: Sequence[Record]) -> None:
        """Go back with every tracker; see `Tracker.rewind`."""
        self._each(lambda tracker: tracker.rewind(records))

    def close(self) -> None:
        """Close every tracker."""
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for number, tracker in enumerate(self.trackers):
            try:
                call(tracker)
            except UserError:
                raise
            except Exception as error:
                if number not in self._warned:
                    self._warned.add(number)
                    _logger.warning("%s failed, training continues: %s", tracker, error)


def check_picture(picture: Picture) -> Picture:
    """Return `picture` if it is uint8 `[H, W, 3]`.

    Raises:
        ValueError: If it has another type or shape.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"picture must be uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}"
        )
    return picture

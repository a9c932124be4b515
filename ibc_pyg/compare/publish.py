"""Tables of a comparison as an artifact at W&B, in the group of its runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.config import TrackConfig
from ibc_pyg.training.trackers import open_wandb


def publish_tables(track: TrackConfig, out: Path, files: Sequence[Path]) -> str | None:
    """Keep the tables and figures as an artifact of a run of their own.

    Args:
        track: Fields of the experiment, without a name and tags of one of its runs.
        out: Folder of the comparison; the same run is continued if it is published again.
        files: The files.

    Returns:
        The command that uploads all runs of the comparison; None unless they are offline.

    Raises:
        UserError: If the package wandb is missing.
    """
    if track.wandb == "disabled":
        return None
    name = out.absolute().name
    tracker = open_wandb(track, out, f"{name} table", record=out / "wandb.json", group=name)
    tracker.artifact("table", "table", files)
    offline = tracker.mode == "offline"
    tracker.close()
    if not offline:
        return None
    return f"find {shlex.quote(str(out))} -name 'offline-run-*' -exec wandb sync {{}} +"

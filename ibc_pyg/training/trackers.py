"""Trackers of a run, as its configuration asks for them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ibc_pyg.config import Config, TrackConfig
from ibc_pyg.config.files.yaml_file import config_to_dict
from ibc_pyg.files import read_json, write_json
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track import JsonlTracker, MultiTracker, PluggedTracker, Tracker, WandbTracker

PROJECT = "ibc_pyg"
"""Project in W&B where neither the experiment nor the environment names one."""


def make_tracker(config: Config, run: RunFolder, written: Config | None = None) -> MultiTracker:
    """Return the trackers of a run.

    Args:
        config: The experiment.
        run: Folder of the run.
        written: The experiment that is recorded, if it is another: see `Experiment`.

    Raises:
        UserError: If the history cannot be written, or the package wandb is missing.
    """
    trackers: list[Tracker] = [JsonlTracker(run.metrics)]
    recorded = config_to_dict(written or config)
    if config.track.wandb != "disabled":
        # Marks selection on the test classes wherever runs are listed.
        tags = ["select=test"] if config.select == "test" else []
        trackers.append(
            open_wandb(
                config.track,
                run.path,
                run_name(run.path, config.train.seed),
                record=run.wandb,
                tags=tags,
                config=recorded,
            )
        )
    for name in config.track.trackers:
        trackers.append(PluggedTracker(name, run_dir=run.path, config=recorded))
    return MultiTracker(trackers)


def open_wandb(
    track: TrackConfig,
    folder: Path,
    name: str,
    *,
    record: Path,
    group: str | None = None,
    tags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> WandbTracker:
    """Open a run at W&B, or the one that `record` names.

    The experiment's fields come first, then WANDB_PROJECT, WANDB_ENTITY, WANDB_NAME and
    WANDB_RUN_GROUP, then what is derived here.

    Args:
        track: Fields of the experiment.
        folder: Folder of the run.
        name: Name where none is set.
        record: File of the identity of the run.
        group: Group where none is set.
        tags: Tags in addition to those of the experiment.
        config: The full configuration.

    Raises:
        UserError: If the package wandb is missing, or the identity cannot be read or written.
    """
    tracker = WandbTracker(
        track.wandb,
        project=track.project or os.environ.get("WANDB_PROJECT") or PROJECT,
        entity=track.entity or os.environ.get("WANDB_ENTITY") or None,
        name=track.name or os.environ.get("WANDB_NAME") or name,
        group=track.group or os.environ.get("WANDB_RUN_GROUP") or group,
        tags=[*track.tags, *tags],
        run_dir=folder,
        config=config,
        run_id=read_json(record).get("id") if record.is_file() else None,
    )
    if tracker.run_id is not None:
        write_json(record, {"id": tracker.run_id})
    return tracker


def run_name(folder: Path, seed: int) -> str:
    """Return a name of setting and seed, from the name of the run folder.

    >>> run_name(Path("runs/cub"), 3), run_name(Path("runs/grid/heads=2/seed-3"), 3)
    ('cub seed 3', 'heads=2 seed 3')
    """
    folder = folder.absolute()
    setting = folder.parent.name if folder.name == f"seed-{seed}" else folder.name
    return f"{setting} seed {seed}"

"""Folder of the images of a run, as seen from the present working folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ibc_pyg.config import Config
from ibc_pyg.files import read_json
from ibc_pyg.runs.run_folder import RunFolder


def with_found_root(run: RunFolder, config: Config) -> Config:
    """Return a run's configuration with a relative `data.root` resolved where the run was started.

    If there is no such folder any more, the root stays relative to the working folder.

    Args:
        run: The run, whose environment.json names the folder it was started in.
        config: Its configuration.

    Raises:
        RunError: If environment.json is damaged.
    """
    root = config.data.root
    if root is None or Path(root).expanduser().is_absolute() or not run.environment.is_file():
        return config
    started_in = read_json(run.environment).get("working_folder")
    if not isinstance(started_in, str) or Path(started_in) == Path.cwd():
        return config
    found = Path(started_in) / root
    if not found.exists():
        return config
    return replace(config, data=replace(config.data, root=str(found)))


def with_absolute_root(config: Config) -> Config:
    """Return the configuration with a relative `data.root` resolved in the working folder."""
    root = config.data.root
    if root is None:
        return config
    absolute = str(Path(root).expanduser().absolute())
    return replace(config, data=replace(config.data, root=absolute))

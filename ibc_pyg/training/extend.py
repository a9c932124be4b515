"""Extension of a finished run: a new run that goes on from its last checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ibc_pyg.builders.plugged import check_code
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_from_yaml, config_to_dict, config_to_yaml
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.errors import ConfigError, RunError, printable
from ibc_pyg.files import read_json, write_json
from ibc_pyg.parallel.fabric import make_fabric
from ibc_pyg.parallel.processes import run_on_main
from ibc_pyg.runs.checkpoint import checkpoint_path, load_newest, save_checkpoint
from ibc_pyg.runs.data_root import with_found_root
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.source_record import CODE, CODE_RECORD, check_sources
from ibc_pyg.training.run import EXTENSION, resume
from ibc_pyg.training.snapshot import BEST


def extend(
    path: Path,
    epochs: int,
    out: Path,
    console: Console,
    *,
    trust_code: bool = False,
    known_code: Collection[str] = (),
) -> RunFolder:
    """Train a finished run for more epochs, in a new folder; the run itself is not changed.

    The result is that of a training with all epochs from the beginning, to the last bit.

    Args:
        path: Folder of the finished run, with its checkpoints.
        epochs: Further epochs, >= 1.
        out: Folder of the new run.
        console: Shows progress.
        trust_code: As in `resume`.
        known_code: As in `resume`.

    Raises:
        UserError: If the run is not finished, its schedule ends with its last epoch, or it has no
            checkpoint of its end.
        TrainingInterrupted: If the user stopped it; the new folder can be resumed.
    """
    run = RunFolder.open(path)
    config = with_found_root(run, config_from_yaml(run.config))
    _check(run, config, epochs)
    check_code(config, path, trust=trust_code, known=known_code)
    check_sources(path, plugged_sources(config))
    longer = replace(config, train=replace(config.train, epochs=config.train.epochs + epochs))
    RunFolder(out).check_free()
    make_fabric(config.train)  # starts the processes, of which one copies
    run_on_main(lambda: _copy(run, config, longer, out))
    return resume(out, console, trust_code=trust_code, known_code=known_code)


def _check(run: RunFolder, config: Config, epochs: int) -> None:
    if epochs < 1:
        raise ConfigError(f"--extend must be >= 1, not {epochs}")
    run.read_summary()
    if config.train.schedule != "steps":
        raise ConfigError(
            f"{printable(run.path)} cannot be extended: train.schedule = {config.train.schedule} "
            "ends with its last epoch; train anew with more train.epochs"
        )
    if config.retrain:
        raise ConfigError(
            f"{printable(run.path)} cannot be extended: its second pass (retrain) ends at the "
            "selected epoch; train anew with more train.epochs"
        )


def _copy(run: RunFolder, config: Config, longer: Config, out: Path) -> None:
    """Make the new run as if it had been interrupted where the other one ended."""
    step, state = load_newest(run.checkpoints)
    sampler = state["sampler"]
    if (sampler["epoch"], sampler["step"]) != (config.train.epochs, 0):
        raise RunError(
            f"{printable(run.path)} cannot be extended: its newest checkpoint is not of its end"
        )
    new = RunFolder.create(out, config_yaml=config_to_yaml(longer))
    made = dict(zip(EXTENSION, (str(run.path), config.train.epochs), strict=True))
    try:
        write_json(new.environment, read_json(new.environment) | made)
        for name in (run.metrics.name, run.split.name, CODE_RECORD):
            if (run.path / name).is_file():
                shutil.copyfile(run.path / name, out / name)
        if (run.path / CODE).is_dir():
            shutil.copytree(run.path / CODE, out / CODE, dirs_exist_ok=True)
        best = checkpoint_path(run.checkpoints, step) / BEST
        files = {BEST: best} if best.is_file() else {}
        state["config"] = config_to_dict(longer)
        save_checkpoint(new.checkpoints, step, state, files=files)
    except OSError as error:
        raise RunError(f"{printable(out)} cannot be written: {error.strerror}") from error

"""Saving and restoring the training state."""

from __future__ import annotations

import logging
import os
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ibc_pyg.config.files.yaml_file import config_to_dict
from ibc_pyg.errors import RunError
from ibc_pyg.files import open_in_place, write_atomically
from ibc_pyg.nn.weights import fit_weights
from ibc_pyg.parallel.processes import all_gather_json, run_on_main
from ibc_pyg.parallel.random_states import random_states, set_random_states
from ibc_pyg.runs.checkpoint import checkpoint_path, save_checkpoint
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.split_record import record_of, write_split
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.training import Training, TrainingProgress

_logger = logging.getLogger(__name__)
BEST = "best.safetensors"
"""The best weights so far, in a checkpoint."""


def save_weights(training: Training) -> None:
    """Write the model's weights, or their average if there is one, to the run folder.

    Raises:
        RunError: If they cannot be written; the earlier file is then unchanged.
    """
    experiment, run = training.experiment, training.run
    ema = experiment.ema
    kept = experiment.model.state_dict() if ema is None else ema.values
    weights = {
        # clone: safetensors refuses tensors that share memory.
        name: value.detach().cpu().contiguous().clone()
        for name, value in kept.items()
    }
    run_on_main(lambda: write_atomically(run.weights, save(weights)))


def save_split(experiment: Experiment, run: RunFolder) -> None:
    """Record the images of the run and their split in the run folder.

    Raises:
        RunError: If the file cannot be written.
    """
    record = record_of(experiment.data.table, experiment.data.splits)
    root = experiment.config.data.root
    run_on_main(lambda: write_split(run.split, record, data_root=root))


def save_state(training: Training) -> None:
    """Write a checkpoint of everything that a resumed training needs.

    Raises:
        RunError: If it cannot be written; the earlier ones are then unchanged.
    """
    random = random_states()
    skipped = training.experiment.data.skipped
    for pairs in all_gather_json(list(skipped.items())):
        skipped.update(pairs)
    run_on_main(lambda: _write_state(training, random))


def _write_state(training: Training, random: dict[str, Tensor]) -> None:
    experiment, run, progress = training.experiment, training.run, training.progress
    state = {
        "config": config_to_dict(experiment.written),
        "model": experiment.model.state_dict(),
        "loss": experiment.loss.state_dict(),
        "optimizer": experiment.optimizer.state_dict(),
        "ema": None if experiment.ema is None else experiment.ema.state_dict(),
        "random": random,
        # The scale of 16-bit gradients.
        "precision": experiment.fabric.strategy.precision.state_dict(),
        "sampler": experiment.sampler.state_dict(),
        "skipped": dict(experiment.data.skipped),
        "history_bytes": _sync_history(run),
        "progress": vars(progress),
    }
    # The best weights may be written again before the next checkpoint.
    files = {BEST: run.weights} if progress.best_epoch else {}
    save_checkpoint(run.checkpoints, progress.step, state, files=files)


def restore_state(training: Training, checkpoint: tuple[int, Any]) -> None:
    """Restore a training and the files of its run to a checkpoint.

    Args:
        training: Restored in place.
        checkpoint: Step and state, as `load_newest` returns them.

    Raises:
        RunError: If the state does not fit the experiment, or a file cannot be written.
    """
    experiment, run = training.experiment, training.run
    step, state = checkpoint
    try:
        fit_weights(experiment.model, state["model"], run.checkpoints)
        experiment.loss.load_state_dict(state["loss"])
        experiment.optimizer.load_state_dict(_with_own_kernels(experiment, state["optimizer"]))
        if experiment.ema is not None:
            experiment.ema.load_state_dict(state["ema"])
        experiment.sampler.load_state_dict(state["sampler"])
        set_random_states(state["random"], experiment.config.train.seed)
        if state.get("precision"):
            experiment.fabric.strategy.precision.load_state_dict(state["precision"])
        experiment.data.skipped.update(state["skipped"])
        progress = TrainingProgress(**state["progress"])
        size, has_best = int(state["history_bytes"]), progress.best_epoch > 0
        run_on_main(lambda: _restore_files(run, step, size, has_best=has_best))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"the checkpoint in {run.checkpoints} does not fit config.yaml: {error}"
        ) from error
    training.progress = progress
    run_on_main(lambda: training.tracker.rewind(run.read_history()))


def _with_own_kernels(experiment: Experiment, state: dict[str, Any]) -> dict[str, Any]:
    """Replace the kernels of the device that wrote an optimiser's state by those of this one."""
    groups = []
    for saved, own in zip(state["param_groups"], experiment.optimizer.param_groups, strict=True):
        groups.append(saved | {name: own[name] for name in ("fused", "foreach") if name in own})
    return state | {"param_groups": groups}


def _sync_history(run: RunFolder) -> int:
    """Flush the records to disk; return their length in bytes."""
    if not run.metrics.is_file():
        return 0
    try:
        with open_in_place(run.metrics) as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RunError(f"{run.metrics} cannot be written: {error.strerror}") from error


def _restore_files(run: RunFolder, step: int, history_bytes: int, *, has_best: bool) -> None:
    best = checkpoint_path(run.checkpoints, step) / BEST
    try:
        if has_best:
            write_atomically(run.weights, best.read_bytes())
        else:
            run.weights.unlink(missing_ok=True)
        if run.metrics.is_file() and run.metrics.stat().st_size >= history_bytes:
            # Records after the checkpoint are written again.
            with open_in_place(run.metrics) as file:
                file.truncate(history_bytes)
        elif history_bytes:
            _logger.warning("%s is shorter than when the checkpoint was written", run.metrics)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be restored: {error.strerror}") from error

"""What a training is made of between two steps: saved, and put back."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ibc_pyg.config.yaml_file import config_to_dict
from ibc_pyg.errors import RunError
from ibc_pyg.files import write_atomically
from ibc_pyg.nn.weights import fit_weights
from ibc_pyg.parallel.processes import all_gather_json, run_on_main
from ibc_pyg.parallel.random_states import random_states, set_random_states
from ibc_pyg.runs.checkpoint import checkpoint_path, save_checkpoint
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.split_record import record_of, write_split
from ibc_pyg.training.experiment import Experiment

_logger = logging.getLogger(__name__)
_BEST = "best.safetensors"


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        step: Optimiser steps done.
        best: R@1 of the best evaluation so far; -1 before the first.
        best_epoch: Epochs done at that evaluation.
        seconds: Time of training and its evaluations, in all sittings.
        lr_scale: What divergences have multiplied the learning rate by.
        restarts: How often training went back to a checkpoint because it had diverged.
        retraining: Whether this is the second pass, on all training classes.
        began: Steps done before this pass.
    """

    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    lr_scale: float = 1.0
    restarts: int = 0
    retraining: bool = False
    began: int = 0


def save_weights(experiment: Experiment, run: RunFolder) -> None:
    """Write the model's weights, or their average if there is one, to the run folder.

    Raises:
        RunError: If they cannot be written; the earlier file is as it was.
    """
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


def save_state(experiment: Experiment, run: RunFolder, at: Progress) -> None:
    """Write a checkpoint of everything that training goes on from.

    Raises:
        RunError: If it cannot be written; the earlier ones are as they were.
    """
    random = random_states()
    for pairs in all_gather_json(list(experiment.data.skipped.items())):
        experiment.data.skipped.update(pairs)
    run_on_main(lambda: _write_state(experiment, run, at, random))


def _write_state(
    experiment: Experiment, run: RunFolder, at: Progress, random: dict[str, Tensor]
) -> None:
    state = {
        "config": config_to_dict(experiment.config),
        "model": experiment.model.state_dict(),
        "loss": experiment.loss.state_dict(),
        "optimizer": experiment.optimizer.state_dict(),
        "ema": None if experiment.ema is None else experiment.ema.state_dict(),
        "random": random,
        # The scale of the gradients, in 16-bit floats.
        "precision": experiment.fabric.strategy.precision.state_dict(),
        "sampler": experiment.sampler.state_dict(),
        "skipped": dict(experiment.data.skipped),
        "history_bytes": _sync_history(run),
        "progress": vars(at),
    }
    # The best weights may be written again before the next checkpoint.
    files = {_BEST: run.weights} if at.best_epoch else {}
    save_checkpoint(run.checkpoints, at.step, state, files=files)


def restore_state(experiment: Experiment, run: RunFolder, checkpoint: tuple[int, Any]) -> Progress:
    """Put everything back to where `save_state` saw it, the files of the run too.

    Args:
        experiment: What `setup` built.
        run: Its folder.
        checkpoint: Step and state.

    Raises:
        RunError: If the state does not fit the experiment, or a file cannot be written.
    """
    step, state = checkpoint
    try:
        fit_weights(experiment.model, state["model"], run.checkpoints)
        experiment.loss.load_state_dict(state["loss"])
        experiment.optimizer.load_state_dict(state["optimizer"])
        if experiment.ema is not None:
            experiment.ema.load_state_dict(state["ema"])
        experiment.sampler.load_state_dict(state["sampler"])
        set_random_states(state["random"], experiment.config.train.seed)
        if state.get("precision"):
            experiment.fabric.strategy.precision.load_state_dict(state["precision"])
        experiment.data.skipped.update(state["skipped"])
        at = Progress(**state["progress"])
        size, has_best = int(state["history_bytes"]), at.best_epoch > 0
        run_on_main(lambda: _restore_files(run, step, size, has_best=has_best))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"the checkpoint in {run.checkpoints} does not fit config.yaml: {error}"
        ) from error
    return at


def _sync_history(run: RunFolder) -> int:
    """Bring the records to the disk; return their length in bytes."""
    if not run.metrics.is_file():
        return 0
    try:
        with run.metrics.open("rb+") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RunError(f"{run.metrics} cannot be written: {error.strerror}") from error


def _restore_files(run: RunFolder, step: int, history_bytes: int, *, has_best: bool) -> None:
    best = checkpoint_path(run.checkpoints, step) / _BEST
    try:
        if has_best:
            write_atomically(run.weights, best.read_bytes())
        else:
            run.weights.unlink(missing_ok=True)
        if run.metrics.is_file() and run.metrics.stat().st_size >= history_bytes:
            # What was recorded after the checkpoint comes again.
            os.truncate(run.metrics, history_bytes)
        elif history_bytes:
            _logger.warning("%s is shorter than at the checkpoint", run.metrics)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be restored: {error.strerror}") from error

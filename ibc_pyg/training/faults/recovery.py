"""Recovery from divergence: stop, or return to the last checkpoint with a lower learning rate."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from ibc_pyg.errors import RunError
from ibc_pyg.files import write_json
from ibc_pyg.parallel.processes import run_on_main
from ibc_pyg.runs.checkpoint import checkpoint_path, drop_after, list_checkpoints, load_newest
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.faults.divergence import DivergenceError, describe_divergence
from ibc_pyg.training.snapshot import restore_state, save_state
from ibc_pyg.training.training import Training, TrainingProgress

_logger = logging.getLogger(__name__)


def recover(training: Training, error: DivergenceError) -> None:
    """Record a divergence, and return to the last checkpoint if the configuration allows it.

    The checkpoint is written again with half the learning rate, so that an interrupted run
    resumes with it.

    Args:
        training: Restored in place.
        error: The divergence.

    Raises:
        RunError: If training stops; names the last good checkpoint.
    """
    run, train, before = training.run, training.experiment.config.train, training.progress
    good = _newest(run)
    path = None if good is None else checkpoint_path(run.checkpoints, good[0])
    record = describe_divergence(training.experiment, error, path, newest=before.step)
    run_on_main(lambda: write_json(run.divergence, record))
    restarts = train.on_divergence == "restart"
    if not restarts or before.restarts >= train.max_restarts or good is None:
        raise RunError(_message(run, record, before, restarted=restarts))
    step = good[0]
    run_on_main(lambda: drop_after(run.checkpoints, step))
    restore_state(training, good)
    progress = training.progress = replace(
        training.progress,
        seconds=before.seconds,
        restarts=before.restarts + 1,
        lr_scale=before.lr_scale / 2,
    )
    training.tracker.log(
        progress.step,
        {
            "train/restarts": progress.restarts,
            "train/lr_scale": progress.lr_scale,
            "train/diverged_at": error.step.number,
        },
    )
    save_state(training)
    _logger.warning(
        "%s; training restarts at step %d with the learning rate times %g (details: %s)",
        error,
        progress.step,
        progress.lr_scale,
        run.divergence,
    )


def _newest(run: RunFolder) -> tuple[int, Any] | None:
    if not list_checkpoints(run.checkpoints):
        return None
    try:
        return load_newest(run.checkpoints)
    except RunError:
        # Damaged checkpoints have been logged; the divergence must be reported as well.
        return None


def _message(
    run: RunFolder, record: dict[str, Any], progress: TrainingProgress, *, restarted: bool
) -> str:
    good = record["last_good_checkpoint"]
    found = f"{record['what']} at step {record['step']} (learning rate {record['lr']:.2e})"
    if progress.restarts:
        found += f", after {progress.restarts} restarts"
    more = "more train.max_restarts" if restarted else "train.on_divergence = restart"
    return (
        f"{found}; losses, gradients and files of the batch: {run.divergence}; last good "
        f"checkpoint: {good or 'none'}; lower train.lr, set train.clip_norm or "
        f"train.warmup_steps, or {more}"
    )

"""What becomes of a training that has diverged: it ends, or goes back to its last checkpoint."""

from __future__ import annotations

import logging
from typing import Any

from ibc_pyg.errors import RunError
from ibc_pyg.files import write_json
from ibc_pyg.parallel.processes import run_on_main
from ibc_pyg.runs.checkpoint import checkpoint_path, drop_after, list_checkpoints, load_newest
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.divergence import DivergenceError, describe_divergence
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.snapshot import Progress, restore_state, save_state

_logger = logging.getLogger(__name__)


def recover(
    experiment: Experiment, run: RunFolder, tracker: Tracker, at: Progress, event: DivergenceError
) -> Progress:
    """Save what is known of a divergence, and go back if the configuration says so.

    The checkpoint that training goes back to is written again with the lower learning rate, so
    that a run which is cut and resumed knows of it.

    Args:
        experiment: Put back in place.
        run: Where the checkpoints lie.
        tracker: Is told of the restart.
        at: How far training was.
        event: What was found.

    Returns:
        Where training goes on.

    Raises:
        RunError: If training is to stop; names the last good checkpoint.
    """
    train = experiment.config.train
    good = _newest(run)
    path = None if good is None else checkpoint_path(run.checkpoints, good[0])
    record = describe_divergence(experiment, event, path, newest=at.step)
    run_on_main(lambda: write_json(run.divergence, record))
    if train.on_divergence == "stop" or at.restarts >= train.max_restarts or good is None:
        raise RunError(_message(run, record, at, restarted=train.on_divergence == "restart"))
    step = good[0]
    run_on_main(lambda: drop_after(run.checkpoints, step))
    back = restore_state(experiment, run, good)
    back.seconds = at.seconds
    back.restarts, back.lr_scale = at.restarts + 1, at.lr_scale / 2
    tracker.log(
        back.step,
        {
            "train/restarts": back.restarts,
            "train/lr_scale": back.lr_scale,
            "train/diverged_at": event.step.number,
        },
    )
    save_state(experiment, run, back)
    _logger.warning(
        "%s; back to step %d with the learning rate times %g (details: %s)",
        event,
        back.step,
        back.lr_scale,
        run.divergence,
    )
    return back


def _newest(run: RunFolder) -> tuple[int, Any] | None:
    if not list_checkpoints(run.checkpoints):
        return None
    try:
        return load_newest(run.checkpoints)
    except RunError:
        # What is wrong with each has been said; the divergence is to be told all the same.
        return None


def _message(run: RunFolder, record: dict[str, Any], at: Progress, *, restarted: bool) -> str:
    good = record["last_good_checkpoint"]
    found = f"{record['what']} at step {record['step']} (learning rate {record['lr']:.2e})"
    if at.restarts:
        found += f", after {at.restarts} restarts"
    more = "more train.max_restarts" if restarted else "train.on_divergence = restart"
    return (
        f"{found}; losses, gradients and files of the batch: {run.divergence}; last good "
        f"checkpoint: {good or 'none'}; lower train.lr, set train.clip_norm or "
        f"train.warmup_steps, or {more}"
    )

"""Evaluation between epochs and selection of the best weights."""

from __future__ import annotations

from contextlib import nullcontext

from ibc_pyg.evaluation.scores import score_retrieval
from ibc_pyg.inference.extract import extract_split
from ibc_pyg.parallel.processes import broadcast_from_main
from ibc_pyg.training.faults.divergence import DivergenceMonitor
from ibc_pyg.training.snapshot import save_weights
from ibc_pyg.training.training import Training


def evaluate_and_select(training: Training, monitor: DivergenceMonitor) -> None:
    """Score the held-out classes, or else the test classes, and keep the weights if they are best.

    Without either, nothing is scored.

    Scores are recorded as `val/...` or `test/...`. Averaged weights are scored if there are any.

    Args:
        training: Its best epoch is updated.
        monitor: Checks the descriptors.

    Raises:
        DivergenceError: If a descriptor is not finite.
        RunError: If the weights cannot be written.
    """
    experiment, progress = training.experiment, training.progress
    config, splits, epoch = experiment.config, experiment.data.splits, experiment.sampler.epoch
    role, probe = ("test", splits.test) if splits.val is None else ("val", splits.val)
    if probe is None:
        return
    with nullcontext() if experiment.ema is None else experiment.ema.in_place():
        described = extract_split(
            experiment.fabric,
            experiment.model,
            experiment.data,
            probe,
            batch_size=config.evaluate.batch_size,
        )
    monitor.check_descriptors(described.queries.vectors)
    device = experiment.fabric.device
    scores = broadcast_from_main(lambda: score_retrieval(described, config.evaluate, device=device))
    training.tracker.log(
        progress.step,
        {"epoch": epoch} | {f"{role}/{name}": value for name, value in scores.items()},
    )
    if config.select != "last" and scores["R@1"] > progress.best:
        progress.best, progress.best_epoch = scores["R@1"], epoch
        save_weights(training)

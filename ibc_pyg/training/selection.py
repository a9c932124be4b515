"""What is looked at between epochs, and which weights are kept for it."""

from __future__ import annotations

from contextlib import nullcontext

from ibc_pyg.evaluation.scores import score_retrieval
from ibc_pyg.inference.extract import extract_split
from ibc_pyg.parallel.processes import broadcast_from_main
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.divergence import DivergenceMonitor
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.snapshot import Progress, save_weights


def evaluate_and_select(
    experiment: Experiment, run: RunFolder, tracker: Tracker, at: Progress, watch: DivergenceMonitor
) -> None:
    """Score the held-out classes, or else the test classes, and keep the weights if they are best.

    Args:
        experiment: What is trained; its averaged weights are scored, if it has any.
        run: Where the best weights go.
        tracker: Where the scores go, as `val/...` or `test/...`.
        at: Its best epoch is brought up to date.
        watch: Looks at the descriptors.

    Raises:
        DivergenceError: If a descriptor is not finite.
        RunError: If the weights cannot be written.
    """
    config, splits, epoch = experiment.config, experiment.data.splits, experiment.sampler.epoch
    role, probe = ("test", splits.test) if splits.val is None else ("val", splits.val)
    with nullcontext() if experiment.ema is None else experiment.ema.in_place():
        described = extract_split(
            experiment.fabric,
            experiment.model,
            experiment.data,
            probe,
            batch_size=config.evaluate.batch_size,
        )
    watch.check_descriptors(described.queries.vectors)
    scores = broadcast_from_main(lambda: score_retrieval(described, config.evaluate))
    tracker.log(
        at.step, {"epoch": epoch} | {f"{role}/{name}": value for name, value in scores.items()}
    )
    if config.select != "last" and scores["R@1"] > at.best:
        at.best, at.best_epoch = scores["R@1"], epoch
        save_weights(experiment, run)

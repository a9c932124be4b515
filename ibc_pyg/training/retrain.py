"""The second pass: all training classes, for the number of epochs that the first one chose."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.runs.split_record import record_of
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.experiment import Experiment, setup
from ibc_pyg.training.fit import fit
from ibc_pyg.training.snapshot import Progress, save_split


def retrain(
    experiment: Experiment, run: RunFolder, tracker: Tracker, console: Console, at: Progress
) -> tuple[Experiment, Progress]:
    """Train anew, from the same seed, with no class held out.

    The learning rate goes as it went in the first pass: the schedule has its full length, and the
    pass ends at the chosen epoch, since that is where the first one was at its best. Nothing is
    evaluated on the way: there is nothing left to choose, and nobody looks at the test classes
    before the end. Steps are counted on from the first pass, so that the history ascends.

    Args:
        experiment: That of the pass that has ended; a first pass is not used any more.
        run: Where checkpoints go.
        tracker: Where losses go.
        console: Where progress is shown.
        at: How that pass ended; a second one is returned as it is.

    Returns:
        The experiment of the second pass, and how it ended.

    Raises:
        TrainingInterrupted: If the user stopped it.
        RunError: If training diverged for good, or a checkpoint cannot be written.
    """
    if at.retraining:
        return experiment, at
    record = record_of(experiment.data.table, experiment.data.splits)
    second = setup(experiment.config, console, record=record, all_classes=True)
    save_split(second, run)
    # Images that could not be read have the same rows in both.
    second.data.skipped.update(experiment.data.skipped)
    tracker.log(at.step, {"retrain/epochs": at.best_epoch})
    # What the first pass learned from diverging is its own; this one has the rates it began with.
    begin = replace(at, retraining=True, began=at.step, lr_scale=1.0, restarts=0)
    return second, fit(second, run, tracker, console, at=begin)

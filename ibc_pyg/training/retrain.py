"""Second pass: training on all training classes for the selected number of epochs."""

from __future__ import annotations

from dataclasses import replace

from ibc_pyg.runs.split_record import record_of
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.fit import fit
from ibc_pyg.training.snapshot import save_split
from ibc_pyg.training.training import Training


def retrain(training: Training) -> Training:
    """Train again from the same seed, with no class held out.

    The learning rate follows the full schedule of the first pass, and the second pass ends at the
    selected epoch. Nothing is evaluated before the end, since no selection is left to be made.
    Step numbers continue from the first pass, so that the history is ascending.

    Args:
        training: A finished first pass, whose model is not used any more; a finished second pass
            is returned as it is.

    Returns:
        The finished second pass.

    Raises:
        TrainingInterrupted: If the user stopped it.
        RunError: If training diverged and is not restarted, or a checkpoint cannot be written.
    """
    first = training.progress
    if first.retraining:
        return training
    config, data = training.experiment.written, training.experiment.data
    record = record_of(data.table, data.splits)
    second = setup(
        config, training.console, record=record, all_classes=True, kept_code=training.run.path
    )
    save_split(second, training.run)
    # Images that could not be read have the same rows in both passes.
    second.data.skipped.update(data.skipped)
    training.tracker.log(first.step, {"retrain/epochs": first.best_epoch})
    # The second pass starts with the configured learning rate.
    progress = replace(first, retraining=True, began=first.step, lr_scale=1.0, restarts=0)
    again = replace(training, experiment=second, progress=progress)
    fit(again)
    return again

"""A training: the parts that the loop, selection, recovery and saving work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console

from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track.base import Tracker
from ibc_pyg.training.experiment import Experiment


@dataclass
class TrainingProgress:
    """Progress of a training; checkpoints hold its fields by these names.

    Attributes:
        step: Optimiser steps done.
        best: R@1 of the best evaluation so far; -1 before the first.
        best_epoch: Epochs done at that evaluation.
        seconds: Time of training and its evaluations, summed over all resumes.
        lr_scale: Factor on the learning rate, halved at each divergence.
        restarts: Number of returns to a checkpoint after a divergence.
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


@dataclass
class Training:
    """An experiment in training, with its outputs and its progress.

    Attributes:
        experiment: Model, data, loss and optimiser; trained in place.
        run: Folder of checkpoints, weights and records.
        tracker: Receives losses and metrics.
        console: Shows progress.
        progress: Replaced when a checkpoint is restored.
    """

    experiment: Experiment
    run: RunFolder
    tracker: Tracker
    console: Console
    progress: TrainingProgress = field(default_factory=TrainingProgress)

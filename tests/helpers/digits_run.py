"""A small run on scikit-learn's digits for several tests."""

import io
import os
import signal

import pytest
from rich.console import Console

from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training import fit
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.monitor.speed import MEASURED
from ibc_pyg.training.run import resume, train

TIMED = MEASURED
"""Values of a record that depend on the machine."""

OPTIONS = [
    "--data.name", "digits", "--data.classes_per_batch", "4", "--data.images_per_class", "8",
    "--data.transform", "glyphs", "--data.transform_args", "{image_size: 8}",
    "--model.backbone_args", "{width: 8}", "--model.embedding_dim", "32", "--model.heads", "2",
    "--train.epochs", "3", "--train.lr", "0.01", "--train.lr_milestones", "[2]",
    "--select", "last", "--train.device", "cpu",
]  # fmt: skip


def digits(*more):
    return parse_config(None, [*OPTIONS, *more])


def quick(*more):
    """The same without a report."""
    return digits("--track.report", "false", *more)


def quiet():
    return Console(file=io.StringIO())


def records(run):
    """The history without values that depend on the machine."""
    return [
        {name: value for name, value in record.items() if name not in TIMED}
        for record in run.read_history()
    ]


def interrupted_and_resumed(config, out, stop_at):
    """Train with Ctrl-C in step `stop_at`, and go on; return the finished run."""
    taken, step = 0, fit.train_step

    def interrupted(experiment, batch):
        nonlocal taken
        taken += 1
        if taken == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(experiment, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "train_step", interrupted)
        with pytest.raises(TrainingInterrupted):
            train(config, out, quiet())
    resume(out, quiet())
    return RunFolder.open(out)

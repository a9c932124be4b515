"""A small run on scikit-learn's digits for several tests."""

import io

from rich.console import Console

from ibc_pyg.config.yaml_file import parse_config
from ibc_pyg.training.monitor.speed import MEASURED

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

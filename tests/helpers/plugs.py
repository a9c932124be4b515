"""The examples of code of the user, and a reference to any code in a configuration."""

from dataclasses import replace
from pathlib import Path

from ibc_pyg.config import Config, TermConfig

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plugins"

SMALL = [
    "--data.name", "digits", "--data.transform", "none", "--data.transform_args", "{image_size: 8}",
    "--data.classes_per_batch", "4", "--data.images_per_class", "4", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
    "--evaluate.clustering", "false", "--track.report", "false", "--train.threads", "1",
]  # fmt: skip
"""A run of a second."""


def naming(config: Config, kind: str, name: str) -> Config:
    """Return the configuration with `name` in the field of a kind."""
    part, field = {
        "data set": ("data", "name"),
        "transform": ("data", "transform"),
        "sampler": ("data", "sampler"),
        "backbone": ("model", "backbone"),
        "graph layer": ("model", "conv"),
        "graph": ("model", "graph"),
        "optimiser": ("train", "optimizer"),
        "schedule": ("train", "schedule"),
        "refiner": ("evaluate", "refine"),
        "metric": ("evaluate", "metrics"),
        "tracker": ("track", "trackers"),
        "loss": ("loss", "terms"),
        "miner": ("loss", "terms"),
    }[kind]
    value = {
        "metric": [name],
        "tracker": [name],
        "loss": [TermConfig(name)],
        "miner": [TermConfig("TripletMarginLoss", miner=name)],
    }.get(kind, name)
    section = replace(getattr(config, part), **{field: value})
    return replace(config, **{part: section})

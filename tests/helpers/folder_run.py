"""A small run on image files."""

from pathlib import Path

from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quiet

SAMPLE = Path(__file__).resolve().parents[2] / "experiments" / "sample.yaml"
FIELDS = [
    "--data.workers", "0", "--train.epochs", "1", "--train.lr_milestones", "[]",
    "--train.evaluate_every", "0", "--track.report", "false",
    "--model.backbone_args", "{width: 4}", "--model.embedding_dim", "16",
]  # fmt: skip


def folder_config(root, *fields):
    return parse_config(SAMPLE, [*FIELDS, "--data.root", str(root), *fields])


def folder_run(folder, *fields):
    """Train in `folder / "run"` on `folder / "pictures"`; return the run folder's path."""
    make_sample("folder", folder / "pictures")
    return train(folder_config(folder / "pictures", *fields), folder / "run", quiet()).path

"""Runs with parts of every kind in files, which are removed after the training."""

import io
import shutil

import pytest
from rich.console import Console

from ibc_pyg.config.yaml_file import parse_config
from ibc_pyg.training.run import train
from tests.helpers.plugs import EXAMPLES, SMALL

EXAMPLE = {
    "backbone": "backbone.py:TwoLayers",
    "graph layer": "graph_layer.py",
    "metric": "metric.py:class_margin",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a run whose data set, backbone, metric, schedule and tracker are files."""
    folder = tmp_path_factory.mktemp("kept")
    files = folder / "parts"
    shutil.copytree(EXAMPLES, files)
    words = [
        *SMALL,
        "--data.name", f"{files}/dataset.py:NAME_dataset",
        "--model.backbone", f"{files}/backbone.py:NAME_backbone",
        "--model.backbone_args", "{}",
        "--train.schedule", f"{files}/schedule.py:NAME_schedule",
        "--evaluate.metrics", f"[{files}/metric.py:NAME_metric]",
        "--track.trackers", f"[{files}/tracker.py:NAME_tracker]",
    ]  # fmt: skip
    run = train(parse_config(None, words), folder / "run", Console(file=io.StringIO())).path
    return run, files

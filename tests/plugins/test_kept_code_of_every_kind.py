"""A run with a part of every kind in files, which are removed after the training."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ibc_pyg import cli
from ibc_pyg.builders.plugged import with_kept_code
from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config
from ibc_pyg.config.plugged import plugged, plugged_code
from ibc_pyg.plugins import KINDS
from ibc_pyg.runs.checkpoint import list_checkpoints, load_newest
from ibc_pyg.runs.source_record import CODE, read_sources, record_sources
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quiet
from tests.helpers.plugs import EXAMPLES, SMALL, naming

PARTS = [
    "--data.name", "parts/dataset.py:Digits", "--data.transform", "parts/transform.py:Shifted",
    "--data.transform_args", "{padding: 2}", "--data.sampler", "parts/sampler.py:balanced",
    "--data.sampler_args", "{steps: 3}", "--model.backbone", "parts/backbone.py:TwoLayers",
    "--model.backbone_args", "{}", "--model.conv", "parts/graph_layer.py:MeanConv",
    "--model.graph", "parts/graph.py:most_similar", "--model.graph_args", "{share: 0.4}",
    "--loss.terms", "[{name: 'parts/loss.py:Proxies'}, "
    "{name: TripletMarginLoss, miner: 'parts/miner.py:hardest'}]",
    "--train.optimizer", "parts/optimizer.py:SignDescent",
    "--train.schedule", "parts/schedule.py:triangle",
    "--evaluate.metrics", "['parts/metric.py:class_margin']",
    "--evaluate.refine", "parts/refiner.py:nearest",
    "--track.trackers", "['parts/tracker.py:CsvTracker']",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a finished run, whose files are gone."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(EXAMPLES, folder / "parts")
    before = Path.cwd()
    os.chdir(folder)
    try:
        config = parse_config(None, [*SMALL, *PARTS])
        assert {each.kind.name for each in plugged(config)} == set(KINDS)
        made = train(config, folder / "run", quiet()).path
        shutil.rmtree(folder / "parts")
    finally:
        os.chdir(before)
    return made


def test_a_run_keeps_every_file(run):
    config = config_from_yaml(run / "config.yaml")
    assert read_sources(run).keys() == plugged_code(config)
    kept = with_kept_code(config, run)
    for each in plugged(kept):
        assert each.file is not None
        assert each.file.parent == run / CODE
        assert each.file.read_bytes() == (EXAMPLES / each.file.name).read_bytes()
    assert len(plugged(kept)) == len(plugged(config))


def test_the_copies_are_evaluated(run, tmp_path):
    path = tmp_path / "scores.json"
    assert cli.run(["evaluate", str(run), "--trust-code", "--json", str(path)]) == 0
    now, then = json.loads(path.read_text()), json.loads((run / "summary.json").read_text())
    for name in ("R@1", "own/class_margin"):
        assert now[name] == pytest.approx(then[name], abs=1e-6), name


def test_the_copies_are_trained_again(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    for name in ("summary.json", "model.safetensors"):
        (copy / name).unlink()
    assert cli.run(["train", "--resume", str(copy)]) == 2
    assert cli.run(["train", "--resume", str(copy), "--trust-code"]) == 0
    then, now = (json.loads((each / "summary.json").read_text()) for each in (run, copy))
    assert now["R@1"] == then["R@1"]
    # The experiment keeps the names of the user.
    assert (copy / "config.yaml").read_text() == (run / "config.yaml").read_text()
    assert list_checkpoints(copy / "checkpoints")
    saved = load_newest(copy / "checkpoints")[1]["config"]
    assert saved["data"]["name"] == "parts/dataset.py:Digits"


@pytest.mark.parametrize("kind", KINDS)
def test_references_of_every_kind_lead_to_the_copy(kind, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("")
    config = naming(Config(), kind, f"{file}:Own")
    record_sources(tmp_path, plugged_code(config))
    (found,) = plugged(with_kept_code(config, tmp_path))
    assert found.reference == f"{tmp_path / CODE / 'own.py'}:Own"

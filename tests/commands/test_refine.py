"""`refine`: a refiner for a finished run, and its scores."""

import io
import json

import pytest
import torch
from rich.console import Console

from ibc_pyg.cli import run as command
from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.errors import ConfigError
from ibc_pyg.refinement.learned.files import load_refiner
from ibc_pyg.training.run import train

SMALL = [
    "--data.classes_per_batch", "4", "--data.images_per_class", "4", "--select", "last",
    "--model.embedding_dim", "8", "--model.steps", "0", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "1",
    "--data.name", "inshop", "--data.allow_partial", "true", "--data.transform", "imagenet",
    "--data.transform_args", "{image_size: 16, resize: 20}",
]  # fmt: skip
QUICK = ["--k", "3", "--steps", "2", "--episodes", "2", "--hidden", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a run with queries and gallery, on 16 classes."""
    folder = tmp_path_factory.mktemp("runs")
    root = make_sample("inshop", folder / "images", classes=16, images=4)
    config = parse_config(None, [*SMALL, "--data.root", str(root)])
    return train(config, folder / "run", Console(file=io.StringIO())).path


def test_folds_are_trained_and_their_refiner_scored(run, tmp_path, capsys):
    assert command(["evaluate", str(run), "--refine", "refiner"]) == 2
    assert "train a refiner: python run.py refine" in capsys.readouterr().err
    assert command(["refine", str(run), "--folds", "2", *QUICK]) == 0
    assert "MAP@R" in capsys.readouterr().out
    fold = config_from_yaml(run.with_name("run-folds") / "fold-1-of-2" / "config.yaml")
    assert (fold.select, fold.data.val_classes, fold.data.val_fold) == ("val", 0.5, 1)
    scores = tmp_path / "scores.json"
    assert command(["evaluate", str(run), "--refine", "refiner", "--json", str(scores)]) == 0
    metrics = json.loads(scores.read_text())
    assert metrics["refine"] == "refiner"
    assert 0 <= metrics["refined"]["MAP@R"] <= 1


def test_own_classes_and_the_seed_give_the_same_file_twice(run):
    written = []
    for _ in range(2):
        assert command(["refine", str(run), "--folds", "1", "--seed", "3", *QUICK]) == 0
        written.append(load_refiner(run))
    one, two = (refiner.state_dict() for refiner in written)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert written[0].share == written[1].share


def test_too_few_classes_are_refused_before_a_fold_is_trained(run, capsys):
    assert command(["refine", str(run), "--folds", "3", *QUICK]) == 2
    error = capsys.readouterr().err
    assert "--folds 3 needs 24 or more training classes, and the run has 16; use --folds 1" in error
    assert not list(run.with_name("run-folds").glob("*-of-3"))


def test_a_run_without_held_out_classes_is_no_fold(run, capsys):
    assert command(["refine", str(run), "--fold-runs", str(run), *QUICK]) == 2
    assert "held no training classes out (select is last)" in capsys.readouterr().err


def test_a_training_cannot_ask_for_a_refiner_that_is_not_there(tmp_path, run):
    root = config_from_yaml(run / "config.yaml").data.root
    config = parse_config(None, [*SMALL, "--data.root", root, "--evaluate.refine", "refiner"])
    with pytest.raises(ConfigError, match=r"run\.py refine RUN_DIR"):
        train(config, tmp_path / "run", Console(file=io.StringIO()))

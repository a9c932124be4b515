"""Trainable parameters and multiply-adds of a step, against counts by hand."""

import io
import json

import pytest
import torch
from rich.console import Console

from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.training.cost import cost_of
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import train

WIDTH, STEM, SIZE, BATCH = 16, 4, 8, 8
SMALL = [
    "--data.name", "digits", "--data.transform", "none",
    "--data.transform_args", "{image_size: 8}", "--data.workers", "0",
    "--data.classes_per_batch", "4", "--data.images_per_class", "2", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
    "--track.report", "false", "--evaluate.clustering", "false",
]  # fmt: skip


def cost(*words):
    return cost_of(setup(parse_config(None, [*SMALL, *words])))


def test_difference_of_a_layer_by_hand():
    """IntraBatchConv: four linear layers, scores and sums; GATConv: one, and the sums."""
    none = cost("--model.conv", "none")
    intra = cost("--model.conv", "IntraBatchConv")
    gat = cost("--model.conv", "GATConv")
    linear = BATCH * WIDTH * WIDTH
    attention = BATCH * BATCH * WIDTH
    assert intra.trainable_parameters - none.trainable_parameters == 4 * (WIDTH * WIDTH + WIDTH)
    assert intra.multiply_adds - none.multiply_adds == pytest.approx(
        4 * linear + 2 * attention, rel=0.15
    )
    assert gat.trainable_parameters - none.trainable_parameters == WIDTH * WIDTH + 3 * WIDTH
    assert linear < gat.multiply_adds - none.multiply_adds < 2 * (linear + attention)
    assert gat.graph_layer.arguments["out_channels"] == "8"


def test_batch_and_frozen_parts_count():
    one, two = cost(), cost("--data.images_per_class", "4")
    # The attention grows with the square.
    assert 2 * one.multiply_adds < two.multiply_adds < 2.2 * one.multiply_adds
    frozen = cost("--model.freeze", "[features]")
    assert frozen.trainable_parameters < one.trainable_parameters
    assert frozen.multiply_adds == one.multiply_adds


def test_nothing_is_changed_by_the_count():
    experiment = setup(parse_config(None, SMALL))
    experiment.model.train()
    before = {name: value.clone() for name, value in experiment.model.state_dict().items()}
    state = torch.get_rng_state()
    cost_of(experiment)
    assert torch.equal(torch.get_rng_state(), state)
    assert experiment.model.training
    after = experiment.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_count_that_fails_costs_no_training(caplog, monkeypatch):
    experiment = setup(parse_config(None, SMALL))

    def broken(*arguments):
        raise RuntimeError("no\ncount")

    monkeypatch.setattr(experiment.model.backbone, "forward", broken)
    assert cost_of(experiment).multiply_adds is None
    assert "not counted: no count" in caplog.text


def test_a_run_says_and_writes_how_its_layer_was_made(tmp_path):
    said = io.StringIO()
    config = parse_config(None, [*SMALL, "--model.conv", "GATConv", "--model.heads", "3"])
    path = train(config, tmp_path / "run", Console(file=said, soft_wrap=True)).path
    line = "graph layer: GATConv(in_channels=16, heads=3, dropout=0.1, out_channels=5), a linear "
    assert f"{line}layer 15 -> 16 appended\n" in said.getvalue()
    written = json.loads((path / "summary.json").read_text())["cost"]
    assert written["graph_layer"]["appended"] == "a linear layer 15 -> 16"
    assert written["trainable_parameters"] > 0
    assert written["multiply_adds"] > 0

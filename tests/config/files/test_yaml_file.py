"""Experiment files and options: values, and errors for invalid input."""

import dataclasses

import pytest
import yaml

from ibc_pyg.config import Config
from ibc_pyg.config.files.yaml_file import (
    config_from_yaml,
    config_to_dict,
    config_to_yaml,
    parse_config,
)
from ibc_pyg.errors import ConfigError


def test_round_trip(tmp_path):
    config = parse_config(
        None,
        ["--model.heads", "8", "--model.conv_args", "{concat: false}", "--train.lr", "1e-3",
         "--train.lr_milestones", "[1, 2.5]", "--select", "last"],
    )  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(config))
    assert config_from_yaml(file) == config
    assert config.train.lr == 1e-3
    assert config.model.conv_args == {"concat": False}


def test_options_override_the_file(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("model:\n  heads: 2\n  steps: 3\n")
    config = parse_config(file, ["--model.heads", "1"])
    assert (config.model.heads, config.model.steps) == (1, 3)


def test_every_field_is_written():
    written = yaml.safe_load(config_to_yaml(Config()))
    assert written == config_to_dict(Config())
    for part in dataclasses.fields(Config):
        value = getattr(Config(), part.name)
        if dataclasses.is_dataclass(value):
            assert written[part.name].keys() == {f.name for f in dataclasses.fields(value)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("modle:\n  steps: 1\n", ["modle", "experiment.yaml"]),
        ("model:\n  stepz: 1\n", ["stepz", "experiment.yaml"]),
        ("model:\n  heads: 3\n", ["model.heads", "128", "experiment.yaml"]),
        ("model:\n  heads: many\n", ["model.heads", "experiment.yaml"]),
        ("train:\n  lr: -1\n", ["train.lr", "-1"]),
        ("train:\n  lr_milestones: [3, 2]\n", ["train.lr_milestones"]),
        ("data:\n  val_classes: 1.5\n", ["data.val_classes", "1.5"]),
        ("loss:\n  temperature: 0\n", ["loss.temperature"]),
        ("train:\n  lr: .inf\n", ["train.lr", "finite"]),
        ("loss:\n  node_weight: .nan\n", ["loss.node_weight", "finite"]),
        ("train:\n  lr: {a: 1}\n", ["train.lr", "experiment.yaml"]),
        ("train:\n  reload_best_at: [0]\n", ["train.reload_best_at"]),
        ("train: 5\n", ["train must hold fields", "experiment.yaml"]),
        ("train:\n", ["train must hold fields", "experiment.yaml"]),
        ("select: best\n", ["select"]),
        ("loss: {terms: [{name: A, agrs: {}}]}\n", ["loss.terms: unknown field agrs", "mean args"]),
        ("loss: {terms: [{name: A, agrs: {b: 1}}]}\n", ["unknown field agrs; did you mean args"]),
        ("loss: {terms: A}\n", ["loss.terms must be a list, such as '[{name: VALUE}]'"]),
        ("model: {steps: x}\n", ["model.steps must be a whole number, not x"]),
        ("model: {covn: none}\n", ["unknown field model.covn; did you mean model.conv"]),
        ("evaluate:\n  ks: [0]\n", ["evaluate.ks"]),
        ("- a list\n", ["experiment.yaml"]),
        ("model: [unclosed\n", ["experiment.yaml", "not YAML"]),
        ("model:\n  steps: 0\nloss:\n  auxiliary_weight: 0\n", ["auxiliary_weight", "steps"]),
    ],
)
def test_error_in_a_file_names_file_and_field(tmp_path, text, names):
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        parse_config(file, [])
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in names), message


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--model.head", "4"], ["model.head"]),
        (["--nonsense"], ["nonsense"]),
        (["--train.epochs", "0"], ["train.epochs", "0"]),
    ],
)
def test_error_in_an_option_does_not_name_the_file(tmp_path, options, names):
    file = tmp_path / "experiment.yaml"
    file.write_text("select: last\n")
    with pytest.raises(ConfigError) as caught:
        parse_config(file, options)
    message = str(caught.value)
    assert "experiment.yaml" not in message
    assert all(name in message for name in names), message


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml is not a file"):
        parse_config(tmp_path / "no.yaml", [])
    with pytest.raises(ConfigError, match="is not a file"):
        parse_config(None, ["--config", "x" * 5000])


def test_heads_need_not_divide_the_width_of_other_layers():
    config = parse_config(None, ["--model.conv", "GATConv", "--model.heads", "3"])
    assert config.model.embedding_dim % config.model.heads


def test_an_option_within_a_mapping_changes_only_that_value(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("model:\n  graph_args: {k: 3, a: x}\n")
    config = parse_config(file, ["--model.graph_args.k", "5", "--model.graph_args.b.c", "max"])
    assert config.model.graph_args == {"k": 5, "a": "x", "b": {"c": "max"}}

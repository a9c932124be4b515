"""Sweep files: W&B's format, and what cannot be run without its server."""

import re
from pathlib import Path

import pytest
import yaml

from ibc_pyg.cli import _split_fields
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.errors import ConfigError
from ibc_pyg.sweep.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))

SWEEP = {
    "program": "run.py",
    "method": "random",
    "metric": {"name": "val/R@1", "goal": "maximize"},
    "parameters": {"train.lr": {"min": 0.001, "max": 0.01}, "model.heads": {"values": [1, 2, 4]}},
}


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        file = tmp_path / "sweep.yaml"
        file.write_text(yaml.safe_dump({**SWEEP, **changes}))
        return file

    return write


def test_trials_are_the_same_every_time(write):
    sweep = read_sweep(write())
    first = sweep.trials(5, 0)
    assert first == read_sweep(write()).trials(5, 0) == sweep.trials(8, 0)[:5]
    assert first != sweep.trials(5, 1)
    assert set(first[0]) == {"train.lr", "model.heads"}


def test_a_grid_is_the_product_in_order(write):
    sweep = read_sweep(
        write(method="grid", parameters={"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}})
    )
    found = [tuple(trial.values()) for trial in sweep.trials(10, 0)]
    assert found == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert len(sweep.trials(3, 0)) == 3


def test_the_command_gives_experiment_layers_and_fields(write):
    command = [
        "${env}", "python", "${program}", "train", "a.yaml", "b.yaml", "--select=val",
        "--data.val_classes", "0.3", "--track.wandb", "online", "--track.project=p", "${args}",
    ]  # fmt: skip
    sweep = read_sweep(write(command=command))
    assert sweep.experiments == (Path("a.yaml"), Path("b.yaml"))
    # W&B is the server's side of it.
    assert sweep.fields == ("--select=val", "--data.val_classes=0.3")


def test_of_a_large_grid_only_what_is_run_is_made(write):
    long = {"min": 0, "max": 10**9}
    sweep = read_sweep(write(method="grid", parameters={"train.seed": long, "data.val_fold": long}))
    assert [trial["train.seed"] for trial in sweep.trials(3, 0)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": {"name": "test/R@1", "goal": "maximize"}}, "held-out training classes"),
        ({"metric": {"name": "R@1"}}, "held-out training classes"),
        ({"metric": None}, "metric must hold name"),
        ({"metric": {"name": "val/R@1", "goal": "max"}}, "maximize or minimize"),
        ({"method": "bayes"}, "random or grid without W&B's server"),
        ({"seeds": 3}, "unknown key seeds"),
        ({"parameters": {}}, "parameters must hold fields"),
        ({"parameters": {"train.lr": {"min": 1}}}, r"sweep\.yaml: parameters\.train\.lr"),
        ({"command": ["python", "run.py", "evaluate"]}, "holds train"),
        ({"command": ["python", "run.py", "train", "${args}"]}, "followed by an experiment"),
        ({"run_cap": 0}, "run_cap"),
        ({"run_cap": True}, "run_cap"),
    ],
)
def test_mistakes_name_the_file(write, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_sweep(write(**changes))


def test_what_is_no_sweep_is_one_line(tmp_path):
    for content in ("[1", "- 1", ""):
        (tmp_path / "s.yaml").write_text(content)
        with pytest.raises(ConfigError, match=r"s\.yaml"):
            read_sweep(tmp_path / "s.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep(tmp_path / "none.yaml")


@pytest.mark.parametrize("file", SWEEPS, ids=[file.stem for file in SWEEPS])
def test_a_shipped_sweep_runs_under_wandb_agent(file, monkeypatch):
    """The agent's command, as W&B itself makes it, is one that our command line reads."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(file)
    content = yaml.safe_load(file.read_text())
    assert content["program"] == "run.py"
    for trial in sweep.trials(3, 0):
        arguments = {name: {"value": value} for name, value in trial.items()}
        flags = utils.create_sweep_command_args({"args": arguments})["args"]
        words = [word for word in content["command"] if not word.startswith("${")]
        words = [*words[words.index("train") + 1 :], *flags]
        files, fields = _split_fields(words)
        config = parse_overlays([Path(file) for file in files], fields)
        assert config.select == "val"
        assert config.track.wandb == "online"
        assert config.train.lr == trial["train.lr"]
        local = parse_overlays(
            sweep.experiments,
            [*sweep.fields, *(f"--{name}={value}" for name, value in trial.items())],
        )
        local.track = config.track
        assert local == config


def test_the_file_in_the_documentation(tmp_path):
    text = (ROOT / "docs" / "training.md").read_text()
    (block,) = re.findall(r"```yaml\n(program: .*?)```", text, re.DOTALL)
    (tmp_path / "sweep.yaml").write_text(block)
    sweep = read_sweep(tmp_path / "sweep.yaml")
    assert (sweep.metric, sweep.maximize, sweep.run_cap) == ("val/R@1", True, 10)
    assert [str(file) for file in sweep.experiments] == ["experiments/glyphs.yaml"]
    assert sweep.trials(2, 0)[0].keys() == {"train.lr", "model.steps", "model.heads"}
    assert len(block.splitlines()) <= 11


def test_messages_are_of_bounded_length(write):
    with pytest.raises(ConfigError, match=r"no distribution 'log_9999") as caught:
        read_sweep(write(parameters={"train.lr": {"distribution": "log_" + "9" * 9000, "min": 1}}))
    assert len(str(caught.value)) < 1500

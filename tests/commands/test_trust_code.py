"""Runs with a graph layer of user code, which is not executed without `--trust-code`."""

import io
import shutil
import sys

import pytest
import yaml
from PIL import Image
from rich.console import Console

from ibc_pyg import cli
from ibc_pyg.builders.plugged import check_code
from ibc_pyg.config import Config, ModelConfig
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.config.plugged import plugged_code
from ibc_pyg.training.run import train

SMALL = [
    "--data.name", "digits", "--data.transform", "none",
    "--data.transform_args", "{image_size: 8}",
    "--data.classes_per_batch", "4", "--data.images_per_class", "4", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
    "--track.report", "false",
]  # fmt: skip
LAYER = """
from pathlib import Path
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
Path(__file__).with_suffix(".executed").touch()
class Own(IntraBatchConv):
    pass
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Train a run with the layer of the method."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(parse_config(None, SMALL), out, Console(file=io.StringIO())).path


class UntrustedRun:
    """Copy of a run with a user layer in a file or module, as received from another user."""

    def __init__(self, run, folder, *, module=False):
        self.run = folder / "run"
        shutil.copytree(run, self.run)
        self.file = folder / f"layer_of_{folder.name}.py"
        self.file.write_text(LAYER)
        self.name = f"{self.file.stem}.Own" if module else f"{self.file}:Own"
        self.change(conv=self.name)

    def change(self, **fields):
        path = self.run / "config.yaml"
        config = yaml.safe_load(path.read_text())
        config["model"] |= fields
        path.write_text(yaml.safe_dump(config))

    @property
    def executed(self):
        return self.file.with_suffix(".executed").exists()


@pytest.fixture(params=["file", "module", "inner"])
def untrusted(request, finished, tmp_path, monkeypatch):
    made = UntrustedRun(finished, tmp_path, module=request.param == "module")
    monkeypatch.syspath_prepend(str(tmp_path))
    if request.param == "inner":
        made.change(conv="DirGNNConv", conv_args={"conv": made.name})
    yield made
    for name in [name for name in sys.modules if f"layer_of_{tmp_path.name}" in name]:
        del sys.modules[name]


def picture(folder):
    path = folder / "query.png"
    Image.new("L", (8, 8)).save(path)
    return path


@pytest.mark.parametrize("command", ["evaluate", "report", "search", "export", "train"])
def test_an_untrusted_layer_is_not_executed(untrusted, tmp_path, capsys, command):
    words = {
        "search": ["search", untrusted.run, picture(tmp_path)],
        "train": ["train", "--resume", untrusted.run],
    }.get(command, [command, untrusted.run])
    if command == "train":  # a finished run is left alone
        assert cli.run(list(map(str, words))) == 0
        assert not untrusted.executed
        (untrusted.run / "summary.json").unlink()
        shutil.rmtree(untrusted.run / "checkpoints")
        capsys.readouterr()
    assert cli.run(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(untrusted.run) in error
    assert untrusted.file.stem in error
    assert "--trust-code" in error
    assert not untrusted.executed


def test_trusted_code_is_imported(finished, tmp_path, capsys):
    untrusted = UntrustedRun(finished, tmp_path)
    assert cli.run(["evaluate", str(untrusted.run), "--trust-code"]) == 0
    assert untrusted.executed
    assert "R@1" in capsys.readouterr().out
    assert cli.run(["report", str(untrusted.run), "--trust-code"]) == 0
    assert cli.run(["search", str(untrusted.run), str(picture(tmp_path)), "--trust-code"]) == 0


def test_one_of_several_runs_is_not_trusted(finished, tmp_path, capsys):
    untrusted = UntrustedRun(finished, tmp_path)
    assert cli.run(["evaluate", str(finished), str(untrusted.run)]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not untrusted.executed


def test_code_named_on_the_command_line_is_trusted(finished, tmp_path, capsys):
    own = UntrustedRun(finished, tmp_path)
    (own.run / "summary.json").unlink()
    shutil.rmtree(own.run / "checkpoints", ignore_errors=True)
    again = ["train", "--resume", str(own.run)]
    assert cli.run([*again, "--train.threads", "1"]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not own.executed
    assert cli.run([*again, "--model.conv", own.name]) == 0
    assert own.executed
    (own.run / "summary.json").unlink()
    experiment = tmp_path / "experiment.yaml"
    shutil.copy(own.run / "config.yaml", experiment)
    assert cli.run(["train", str(experiment), "--resume", str(own.run)]) == 2
    assert cli.run(["train", str(experiment), "--resume", str(own.run), "--trust-code"]) == 0


def test_code_in_an_experiment_file_is_not_executed_unasked(tmp_path, capsys):
    file = tmp_path / "own_layer.py"
    file.write_text(LAYER)
    experiment = tmp_path / "experiment.yaml"
    experiment.write_text(f"model: {{conv: '{file}:Own'}}\n")
    words = [str(experiment), *SMALL, "--out", str(tmp_path / "run")]
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(f"""
method: grid
run_cap: 1
command: [train, {experiment}]
metric: {{name: val/R@1, goal: maximize}}
parameters: {{train.lr: {{values: [0.1]}}}}
""")
    searched = ["sweep", str(sweep), *words[1:], "--train.evaluate_every", "1"]
    dry = ["train", str(experiment), *SMALL, "--dry-run"]
    for command in (["train", *words], dry, ["compare", *words], searched):
        assert cli.run(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"execute the file {file}" in error
        assert "--trust-code" in error
        assert not file.with_suffix(".executed").exists()
        assert not (tmp_path / "run").exists()
    assert cli.run(["train", *words, "--trust-code"]) == 0
    assert file.with_suffix(".executed").exists()


@pytest.mark.parametrize(
    "command", ["train", "dry-run", pytest.param("compare", marks=pytest.mark.slow)]
)
def test_the_layer_of_a_teacher_is_not_executed(finished, tmp_path, capsys, command):
    untrusted = UntrustedRun(finished, tmp_path)
    experiment = tmp_path / "experiment.yaml"
    term = {"name": "FeatureDistillation", "args": {"teacher": str(untrusted.run)}}
    experiment.write_text(yaml.safe_dump({"loss": {"terms": [term]}}))
    words = {
        "train": ["train", str(experiment), *SMALL, "--out", str(tmp_path / "out")],
        "dry-run": ["train", str(experiment), *SMALL, "--dry-run"],
        "compare": ["compare", str(experiment), *SMALL, "--out", str(tmp_path / "out"),
                    "--seeds", "1"],
    }[command]  # fmt: skip
    assert cli.run(words) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not untrusted.executed
    assert cli.run([*words, "--trust-code"]) == 0
    assert untrusted.executed


@pytest.mark.parametrize(
    ("conv", "conv_args", "names"),
    [
        ("IntraBatchConv", {}, []),
        ("none", {}, []),
        ("GATv2Conv", {"negative_slope": 0.1}, []),
        ("torch_geometric.nn.GATv2Conv", {}, []),
        ("ibc_pyg.nn.conv.intra_batch_conv.IntraBatchConv", {}, []),
        ("GPSConv", {"conv": "GINConv"}, []),
        ("layer.py:Own", {}, ["layer.py:Own"]),
        ("ibc_pyg.nn.py:Own", {}, ["ibc_pyg.nn.py:Own"]),
        ("torch_geometric_own.nn.Conv", {}, ["torch_geometric_own.nn.Conv"]),
        ("ibc_pyg.__main__.Own", {}, ["ibc_pyg.__main__.Own"]),
        ("GPSConv", {"conv": "own.Layer"}, ["own.Layer"]),
        ("AntiSymmetricConv", {"phi": "layer.py:Own"}, ["layer.py:Own"]),
        ("a.Layer", {"conv": "b.Layer"}, ["a.Layer", "b.Layer"]),
    ],
)
def test_which_layers_are_user_code(tmp_path, conv, conv_args, names):
    config = Config(model=ModelConfig(conv=conv, conv_args=conv_args))
    assert sorted(plugged_code(config)) == names
    check_code(config, tmp_path, trust=True)
    check_code(config, tmp_path, trust=False, known=names)

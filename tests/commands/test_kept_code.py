"""Runs with a plugged layer whose file is edited, moved or removed after the training."""

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from ibc_pyg import cli
from ibc_pyg.builders.plugged import with_kept_code
from ibc_pyg.config import Config, ModelConfig
from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config
from ibc_pyg.runs.source_record import CODE, CODE_RECORD, record_sources
from ibc_pyg.training import fit
from ibc_pyg.training.run import train

SMALL = [
    "--data.name", "digits", "--data.transform", "none",
    "--data.transform_args", "{image_size: 8}", "--data.workers", "0",
    "--data.classes_per_batch", "4", "--data.images_per_class", "4", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
    "--track.report", "false", "--evaluate.clustering", "false",
]  # fmt: skip
LAYER = """
from torch_geometric.nn import SAGEConv
class Own(SAGEConv):
    def forward(self, x, edge_index):
        return {sign}super().forward(x, edge_index)
"""


class Trained:
    def __init__(self, folder):
        self.file = folder / "own.py"
        self.file.write_text(LAYER.format(sign=""))
        self.name = f"{self.file}:Own"
        self.words = [*SMALL, "--model.conv", self.name]
        self.run = train(
            parse_config(None, self.words), folder / "seed-0", Console(file=io.StringIO())
        ).path

    def edit(self):
        self.file.write_text(LAYER.format(sign="-"))

    def scores(self):
        path = self.file.with_name("scores.json")
        assert cli.run(["evaluate", str(self.run), "--trust-code", "--json", str(path)]) == 0
        return json.loads(path.read_text())["R@1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def own(made, tmp_path):
    """A copy of the run, whose layer has its first content."""
    made.file.write_text(LAYER.format(sign=""))
    copy = tmp_path / "grid" / "as-is" / "seed-0"
    shutil.copytree(made.run, copy)
    return copy


def test_a_trained_model_has_the_code_it_was_trained_with(made, own, tmp_path, capsys):
    before = made.scores()
    picture = tmp_path / "query.png"
    Image.new("L", (8, 8)).save(picture)
    made.edit()
    assert made.scores() == before
    made.file.unlink()
    assert made.scores() == before
    for words in (["search", str(own), str(picture)], ["report", str(own)], ["export", str(own)]):
        capsys.readouterr()
        assert cli.run(words) == 2
        assert str(own / CODE / "own.py") in capsys.readouterr().err
        assert cli.run([*words, "--trust-code"]) == 0, words


def test_a_finished_run_of_edited_code_is_not_taken_for_the_new_one(made, own, tmp_path, capsys):
    experiment = tmp_path / "e.yaml"
    experiment.write_text("train: {seed: 0}\n")
    words = ["compare", str(experiment), *made.words, "--seeds", "1",
             "--out", str(tmp_path / "grid")]  # fmt: skip
    assert cli.run(words) == 0
    assert "done before" in capsys.readouterr().out
    made.edit()
    assert cli.run(words) == 2
    error = capsys.readouterr().err
    assert f"{made.file} has changed since {own}" in error
    assert "new --out" in error
    assert error.count("\n") == 1


def test_a_training_does_not_go_on_with_edited_code(made, own, capsys):
    (own / "summary.json").unlink()
    made.edit()
    assert cli.run(["train", "--resume", str(own), "--model.conv", made.name]) == 2
    error = capsys.readouterr().err
    assert f"{made.file} has changed" in error
    shutil.copy(own / CODE / "own.py", made.file)
    assert cli.run(["train", "--resume", str(own), "--model.conv", made.name]) == 0


def test_a_finished_run_is_left_as_it_is_and_no_code_of_it_is_imported(own, capsys):
    assert cli.run(["train", "--resume", str(own)]) == 0
    assert "nothing to resume" in capsys.readouterr().out


def test_the_advice_after_an_interruption_works(made, tmp_path, capsys, monkeypatch):
    made.file.write_text(LAYER.format(sign=""))
    experiment, out = tmp_path / "e.yaml", tmp_path / "run"
    experiment.write_text("train: {seed: 0}\n")

    def interrupted(experiment, batch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "train_step", interrupted)
        assert cli.run(["train", str(experiment), *made.words, "--out", str(out)]) == 130
    advice = capsys.readouterr().out
    words = shlex.split(advice.partition("python run.py ")[2])
    assert cli.run(words) == 0
    assert (out / "summary.json").is_file()


def test_a_training_goes_on_with_the_copy_of_a_file_that_has_gone(made, own, capsys):
    text = (own / "config.yaml").read_text()
    made.file.unlink()
    for part in ("summary.json", "model.safetensors"):
        (own / part).unlink()
    words = ["train", "--resume", str(own), "--model.conv", made.name]
    assert cli.run(words) == 2  # a copy in a folder is not what the command line named
    assert str(own / CODE / "own.py") in capsys.readouterr().err
    assert cli.run([*words, "--trust-code"]) == 0
    assert (own / "config.yaml").read_text() == text
    assert config_from_yaml(own / "config.yaml").model.conv == made.name


def test_a_teacher_has_the_code_it_was_trained_with(made, own, tmp_path, capsys):
    made.file.unlink()
    term = "[{name: FeatureDistillation, args: {teacher: '" + str(own) + "'}}]"
    words = ["train", str(tmp_path / "e.yaml"), *SMALL, "--loss.terms", term, "--dry-run"]
    (tmp_path / "e.yaml").write_text("train: {seed: 0}\n")
    assert cli.run(words) == 2
    assert str(own / CODE / "own.py") in capsys.readouterr().err
    assert cli.run([*words, "--trust-code"]) == 0


def test_references_within_arguments_are_replaced(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("")
    config = Config(model=ModelConfig(conv="DirGNNConv", conv_args={"conv": f"{file}:Own"}))
    record_sources(tmp_path, [f"{file}:Own"])
    kept = with_kept_code(config, tmp_path)
    assert kept.model.conv_args == {"conv": f"{tmp_path / CODE / 'own.py'}:Own"}
    assert config.model.conv_args == {"conv": f"{file}:Own"}


def test_a_run_of_an_earlier_version_keeps_the_original(tmp_path):
    config = Config(model=ModelConfig(conv="own.py:Own"))
    assert with_kept_code(config, tmp_path) == config
    assert not Path(tmp_path / CODE_RECORD).exists()

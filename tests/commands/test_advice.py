"""Every command and option that a message recommends is accepted, and helps."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.errors import RunError
from ibc_pyg.inference.trained import load_run
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quick, quiet
from tests.helpers.folder_run import folder_config, folder_run

SHORT = ("--train.epochs", "1", "--train.lr_milestones", "[]")


def command_in(message):
    """Return the words of the recommended command after `run.py`."""
    text = " ".join(str(message).split())
    return shlex.split(re.search(r"python run\.py (.*)$", text)[1])


def fails(capsys, *words):
    """Run a command that fails; return its one-line error."""
    assert cli([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(quick(*SHORT), tmp_path_factory.mktemp("with space") / "run", quiet()).path


@pytest.fixture
def cut(finished, tmp_path):
    """A run in a folder whose name has to be quoted, before its summary was written."""
    path = Path(shutil.copytree(finished, tmp_path / "cut run"))
    (path / "summary.json").unlink()
    return path


def test_resume_instead_of_a_second_start(cut):
    with pytest.raises(RunError) as caught:
        train(quick(*SHORT), cut, quiet())
    assert cli(command_in(caught.value)) == 0
    assert (cut / "summary.json").is_file()


def test_resume_of_an_unfinished_run(cut):
    with pytest.raises(RunError) as caught:
        RunFolder(cut).read_summary()
    assert cli(command_in(caught.value)) == 0


def test_resume_after_the_damaged_summary_is_deleted(cut):
    run = RunFolder(cut)
    run.summary.write_text("{}")
    with pytest.raises(RunError, match="delete it") as caught:
        run.read_summary()
    run.summary.unlink()
    assert cli(command_in(caught.value)) == 0
    assert "R@1" in run.read_summary()


def test_resume_of_a_run_without_weights(cut):
    (cut / "model.safetensors").unlink()
    with pytest.raises(RunError) as caught:
        load_run(cut)
    assert cli(command_in(caught.value)) == 0
    load_run(cut)


def test_resume_after_ctrl_c(tmp_path, monkeypatch):
    def interrupted(experiment, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "train_step", interrupted)
    console = quiet()
    with pytest.raises(TrainingInterrupted):
        train(quick(*SHORT), tmp_path / "cut run", console)
    monkeypatch.undo()
    assert cli(command_in(console.file.getvalue())) == 0


@pytest.fixture(scope="module")
def pictures_run(tmp_path_factory):
    return folder_run(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def own(pictures_run, tmp_path):
    """A copy of a run on pictures, with its pictures beside it."""
    shutil.copytree(pictures_run.parent, tmp_path / "own")
    path = tmp_path / "own" / "run"
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace(str(pictures_run.parent), str(path.parent)))
    return path


def picture(path, role):
    table = load_table("folder", path.parent / "pictures")
    return path.parent / "pictures" / table.paths[table.where(role)[0]]


@pytest.mark.parametrize("damage", [lambda file: os.truncate(file, 0), Path.unlink])
def test_skipping_a_picture_in_a_resumed_run(own, capsys, damage):
    (own / "summary.json").unlink()
    shutil.rmtree(own / "checkpoints")
    damage(picture(own, Role.TRAIN))
    assert "--data.on_error skip" in fails(capsys, "train", "--resume", own)
    assert cli(["train", "--resume", str(own), "--data.on_error", "skip"]) == 0


@pytest.mark.parametrize("damage", [lambda file: os.truncate(file, 0), Path.unlink])
def test_skipping_a_picture_in_an_evaluation(own, capsys, damage):
    damage(picture(own, Role.TEST))
    assert "--data.on_error skip" in fails(capsys, "evaluate", own)
    assert cli(["evaluate", str(own), "--data.on_error", "skip"]) == 0


def test_skipping_a_picture_in_a_new_run(own, tmp_path, capsys):
    os.truncate(picture(own, Role.TRAIN), 0)
    file = tmp_path / "experiment.yaml"
    file.write_text(config_to_yaml(folder_config(own.parent / "pictures")))
    words = ["train", str(file), "--out", str(tmp_path / "new")]
    assert "--data.on_error skip" in fails(capsys, *words)
    assert cli([*words, "--data.on_error", "skip"]) == 0


def test_a_class_of_one_picture(tmp_path, capsys):
    make_sample("folder", tmp_path / "set")
    (tmp_path / "set" / "single").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "single" / "0.png")
    words = ["data", "verify", "folder", "--root", str(tmp_path / "set")]
    assert "data.allow_partial" in fails(capsys, *words)
    assert cli([*words, "--data.allow_partial", "true"]) == 0
    assert cli([*words, "--allow-partial"]) == 0


@pytest.mark.parametrize("layout", ["parts", "classes"])
def test_a_folder_of_two_layouts(tmp_path, capsys, layout):
    for part in ("train", "test"):
        make_sample("folder", tmp_path / "set" / part)
    shutil.copytree(next((tmp_path / "set" / "train").iterdir()), tmp_path / "set" / "masks")
    words = ["data", "verify", "folder", "--root", str(tmp_path / "set")]
    option = f"--data.options.layout {layout}"
    assert option in fails(capsys, *words)
    assert cli([*words, *option.split()]) == 0


def test_one_class_without_a_split(tmp_path, capsys):
    make_sample("folder", tmp_path / "set" / "only")
    words = ["data", "verify", "folder", "--root", str(tmp_path / "set")]
    assert "data.options.test_fraction to 0 or 1" in fails(capsys, *words)
    for value in "01":
        assert cli([*words, "--data.options.test_fraction", value]) == 0


def test_a_cache_that_cannot_be_written(own, capsys, monkeypatch):
    monkeypatch.setenv("IBC_PYG_CACHE", str(own / "config.yaml"))
    assert "--data.cache false" in fails(capsys, "evaluate", own, "--data.cache", "true")
    assert cli(["evaluate", str(own), "--data.cache", "false"]) == 0


def test_help_that_messages_name(capsys):
    assert "run.py search --help" in fails(capsys, "search", "--wrong", "run", "picture")
    for words in (["search", "--help"], ["evaluate", "--help"], ["data", "verify", "--help"],
                  ["train", "--help-fields"]):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            cli(words)
        assert end.value.code == 0
    assert "data.on_error" in capsys.readouterr().out

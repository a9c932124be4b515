"""Images and runs that moved, and working folders that changed."""

import os
import shutil
from pathlib import Path

import pytest

from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import config_from_yaml
from ibc_pyg.data.sample import make_sample
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quiet
from tests.helpers.folder_run import folder_config


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run with a relative root, started in its folder."""
    folder = tmp_path_factory.mktemp("original")
    make_sample("folder", folder / "pictures")
    before = Path.cwd()
    os.chdir(folder)
    try:
        train(folder_config("pictures"), folder / "run", quiet())
    finally:
        os.chdir(before)
    return folder


def test_a_relative_root_is_found_from_another_working_folder(original, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = EvalSet(load_run(original / "run"))
    assert images.table.root == original / "pictures"
    assert cli(["evaluate", str(original / "run")]) == 0


def test_a_relative_root_is_below_the_working_folder_if_the_first_is_gone(
    original, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(original / "run", tmp_path / "carried")
    shutil.copytree(original / "pictures", tmp_path / "elsewhere" / "pictures")
    environment = tmp_path / "carried" / "environment.json"
    environment.write_text(environment.read_text().replace(str(original), str(tmp_path / "gone")))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli(["evaluate", str(tmp_path / "carried")]) == 0


@pytest.fixture
def moved(original, tmp_path):
    """The run and its pictures, both in other places; the first places are gone."""
    shutil.copytree(original / "run", tmp_path / "carried")
    shutil.copytree(original / "pictures", tmp_path / "there")
    config = tmp_path / "carried" / "config.yaml"
    config.write_text(config.read_text().replace("root: pictures", f"root: {tmp_path}/gone"))
    return tmp_path / "carried"


def test_evaluate_report_and_search_take_the_new_root(moved, tmp_path, capsys):
    root = ["--data.root", str(tmp_path / "there")]
    assert cli(["evaluate", str(moved)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "give their folder with --data.root" in error
    assert "--data.on_error" not in error  # none is there
    assert cli(["evaluate", str(moved), *root]) == 0
    (moved / "descriptors.safetensors").unlink()
    picture = next((tmp_path / "there").rglob("*.jpg"))
    assert cli(["search", str(moved), str(picture), "-k", "2", *root]) == 0
    assert str(tmp_path / "there") in capsys.readouterr().out.replace("\n", "")
    assert cli(["report", str(moved), *root]) == 0
    assert "cannot be read from" not in (moved / "report.html").read_text()


def test_search_and_report_need_no_pictures(moved, tmp_path, capsys):
    picture = next((tmp_path / "there").rglob("*.jpg"))
    assert cli(["search", str(moved), str(picture), "-k", "2"]) == 0
    assert cli(["report", str(moved)]) == 0


@pytest.mark.parametrize("word", ["--train.lr", "--data.options.layout", "--wrong"])
def test_other_fields_are_refused(moved, word, capsys):
    assert cli(["evaluate", str(moved), word, "1"]) == 2
    assert f"unknown argument {word}" in capsys.readouterr().err


def test_a_run_is_resumed_from_another_working_folder(original, tmp_path, monkeypatch):
    path = Path(shutil.copytree(original / "run", tmp_path / "cut"))
    (path / "summary.json").unlink()
    monkeypatch.chdir(tmp_path)
    resume(path, quiet())
    assert config_from_yaml(path / "config.yaml").data.root == str(original / "pictures")

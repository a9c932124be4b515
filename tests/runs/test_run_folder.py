"""Folders that a new run may use, and names of a run that something else has taken."""

import os

import pytest

from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.errors import RunError
from ibc_pyg.runs.run_folder import RunFolder
from tests.helpers.digits_run import quick


@pytest.fixture
def text():
    return config_to_yaml(quick())


@pytest.mark.parametrize("name", ["notes.txt", "metrics.jsonl", "model.safetensors", ".hidden"])
def test_files_of_someone_else_are_kept_and_the_folder_is_refused(tmp_path, text, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(RunError, match=r"not empty: it holds|already holds a run"):
        RunFolder.create(tmp_path, config_yaml=text)
    assert (tmp_path / name).read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_beside_an_interrupted_run_is_named(tmp_path, text):
    RunFolder.create(tmp_path, config_yaml=text)
    (tmp_path / "thesis.tex").write_text("kept")
    with pytest.raises(RunError, match=r"it holds thesis\.tex, .*; choose another --out"):
        RunFolder.create(tmp_path, config_yaml=text)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [".lock", ".lock.json"],
        [".config.yaml.0123456789abcdef"],
        ["failed.json"],
        ["environment.json", "metrics.jsonl", "split.json"],
        ["environment.json", "config.yaml", "metrics.jsonl", "model.safetensors", "wandb.json"],
    ],
)
def test_an_empty_folder_and_what_an_interrupted_training_leaves_are_taken(tmp_path, text, names):
    for name in names:
        (tmp_path / name).write_text("")
    run = RunFolder.create(tmp_path, config_yaml=text)
    assert run.config.read_text() == text
    assert not run.metrics.exists()


@pytest.mark.parametrize("command", ["train", "demo", "import-official"])
def test_commands_refuse_a_folder_with_files_before_any_work(tmp_path, capsys, command):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("kept")
    experiment = tmp_path / "e.yaml"
    experiment.write_text("select: last\ndata: {name: digits}\n")
    words = {
        "train": ["train", experiment],
        "demo": ["demo"],
        "import-official": ["import-official", "--encoder", tmp_path / "missing.pth"],
    }[command]
    assert cli([*map(str, words), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "out is not empty: it holds notes.txt" in error
    assert error.count("\n") == 1
    assert [each.name for each in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "wandb"])
def test_a_training_does_not_write_through_a_link(tmp_path, text, name):
    run = RunFolder.create(tmp_path / "run", config_yaml=text)
    target = tmp_path / "target"
    if name == "metrics.jsonl":
        target.write_text('{"step": 1}\nhalf')
    else:
        (target / "step-00000001").mkdir(parents=True)
    before = sorted(target.rglob("*"))
    (run.path / name).symlink_to(target)
    from ibc_pyg.runs.resume import InterruptedRun

    with pytest.raises(RunError, match=f"{name} is a link, and is not written through; remove it"):
        InterruptedRun(run, quick(), None).prepare()
    assert sorted(target.rglob("*")) == before
    assert target.is_dir() or target.read_text() == '{"step": 1}\nhalf'


@pytest.mark.parametrize("name", ["report.html", "config.yaml", "model.onnx"])
def test_a_pipe_in_place_of_a_file_is_refused_instead_of_waited_for(tmp_path, text, name):
    run = RunFolder.create(tmp_path, config_yaml=text)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(RunError, match=r"is not a file|has no config\.yaml"):
        RunFolder.open(run.path)


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path, text):
    run = RunFolder.create(tmp_path, config_yaml=text)
    run.weights.mkdir()
    with pytest.raises(RunError, match=r"model\.safetensors is not a file; remove it"):
        RunFolder.open(run.path)

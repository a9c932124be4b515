"""Outputs of commands: never over an input or a file of a run; pipes are written into."""

import json
import os
import threading

import pytest
from PIL import Image

from ibc_pyg.cli import run as cli
from ibc_pyg.commands.options.outputs import check_folder, check_outputs
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.errors import UserError
from ibc_pyg.runs.run_folder import RUN_FILES, RunFolder
from ibc_pyg.training.run import train
from tests.helpers.command_line import fails
from tests.helpers.digits_run import quick, quiet

SHORT = ("--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
         "--evaluate.clustering", "false")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(quick(*SHORT), tmp_path_factory.mktemp("runs") / "run", quiet()).path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "q.png"
    Image.new("L", (8, 8), 128).save(path)
    return path


def content(folder):
    return {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_no_command_writes_over_what_it_reads(run, picture, tmp_path, capsys):
    before, pixels = content(run), picture.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(picture)
    for query in (picture, link):
        error = fails(capsys, "search", run, query, "--json", picture)
        assert "q.png would be overwritten; give each output its own file" in error
    for name in ("config.yaml", "model.safetensors", "metrics.jsonl", "checkpoints/x.json"):
        for words in (
            ("search", run, picture, "--json", run / name),
            ("evaluate", run, "--json", run / name),
            ("evaluate", run, "--save-embeddings", run / name),
            ("export", run, "--out", run / name),
        ):
            error = fails(capsys, *words)
            assert "belongs to the run; write to another file" in error or (
                "its folder does not exist" in error and "/" in name
            )
    assert content(run) == before
    assert picture.read_bytes() == pixels


def test_files_of_a_run_that_is_not_read_are_refused_too(tmp_path, capsys, picture, run):
    other = RunFolder.create(tmp_path / "other", config_yaml=config_to_yaml(quick()))
    before = content(other.path)
    for name in sorted(RUN_FILES):
        with pytest.raises(UserError, match="belongs to the run"):
            check_outputs([other.path / name], runs=[run])
    (tmp_path / "alias").symlink_to(other.path)
    with pytest.raises(UserError, match="belongs to the run"):
        check_outputs([tmp_path / "alias" / "metrics.jsonl"])
    check_outputs([other.path / "scores.json", tmp_path / "config.yaml"], inputs=[None])
    assert content(other.path) == before


def test_two_outputs_are_two_files(tmp_path):
    with pytest.raises(UserError, match="would be overwritten"):
        check_outputs([tmp_path / "a", tmp_path / "." / "a"])
    check_outputs([tmp_path / "a", None, tmp_path / "b"])


def test_json_goes_into_a_pipe_and_to_standard_output(run, picture, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in (["evaluate", run], ["search", run, picture, "-k", "2"]):
        read = []
        reader = threading.Thread(target=lambda read=read: read.append(pipe.read_text()))
        reader.start()
        assert cli([*map(str, words), "--json", str(pipe)]) == 0
        reader.join(10)
        assert json.loads(read[0])["select"] == "last"
        assert pipe.is_fifo()


def test_a_folder_of_runs_is_empty_or_has_one_of_them(tmp_path):
    check_folder(tmp_path / "missing", [])
    (tmp_path / ".lock").write_text("")
    check_folder(tmp_path, [tmp_path / "mine"])
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(UserError, match=r"is not empty: it holds notes\.txt and no run of this"):
        check_folder(tmp_path, [tmp_path / "mine"])
    (tmp_path / "mine").mkdir()
    check_folder(tmp_path, [tmp_path / "other", tmp_path / "mine"])
    with pytest.raises(UserError, match=r"notes\.txt is a file; give another --out"):
        check_folder(tmp_path / "notes.txt", [])


def test_compare_and_sweep_refuse_the_folder_of_someone_else(tmp_path, capsys):
    experiment, sweep, out = tmp_path / "e.yaml", tmp_path / "s.yaml", tmp_path / "out"
    experiment.write_text("select: last\n")
    sweep.write_text(
        "method: random\nmetric: {name: val/R@1, goal: maximize}\n"
        "parameters: {train.lr: {distribution: uniform, min: 0.1, max: 0.2}}\n"
    )
    out.mkdir()
    (out / "table.csv").write_text("kept")
    for words in (
        ("compare", experiment),
        ("sweep", sweep, "--trials", "1", "--experiments", experiment),
    ):
        assert "holds table.csv and no run of this" in fails(capsys, *words, "--out", out)
    assert content(out) == {out / "table.csv": b"kept"}
    for words in (("compare", experiment), ("sweep", sweep, "--trials", "1", "--experiments",
                                            experiment)):  # fmt: skip
        assert "is a file" in fails(capsys, *words, "--out", experiment)


def test_evaluate_and_report_read_a_running_training(run, tmp_path, capsys):
    """Half a line in the history, a partial checkpoint, drafts of files, no summary yet."""
    import shutil

    copy = RunFolder(shutil.copytree(run, tmp_path / "copy"))
    copy.summary.unlink()
    copy.descriptors.unlink()
    with copy.metrics.open("a") as file:
        file.write('{"step": 99, "time": 17')
    (copy.checkpoints / ".step-00000099.partial").mkdir()
    (copy.path / ".model.safetensors.0123456789abcdef").write_bytes(b"half")
    history = copy.metrics.read_bytes()
    assert cli(["evaluate", str(copy.path)]) == 0
    assert cli(["report", str(copy.path)]) == 0
    assert "report: " in capsys.readouterr().out
    assert copy.report.is_file()
    assert copy.metrics.read_bytes() == history


def test_descriptors_are_kept_for_the_weights_that_made_them(run, tmp_path):
    """A training replaces the weights between the loading of a model and the end of its work."""
    import shutil

    from safetensors.torch import load_file, save_file

    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.inference.trained import load_run

    copy = RunFolder(shutil.copytree(run, tmp_path / "copy"))
    copy.descriptors.unlink()
    old = EvalSet(load_run(copy.path))
    newer = {name: value + 1 for name, value in load_file(copy.weights).items()}
    save_file(newer, tmp_path / "newer")
    (tmp_path / "newer").replace(copy.weights)
    vectors = old.descriptors().queries.vectors
    again = EvalSet(load_run(copy.path)).descriptors().queries.vectors
    assert not vectors.equal(again)

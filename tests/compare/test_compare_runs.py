"""What a grid finds in its folder: runs of its settings, of others, damaged ones; Ctrl-C."""

import json
import re

import pytest

from ibc_pyg.cli import run
from ibc_pyg.compare import runs as runs_module
from ibc_pyg.compare.grid import make_grid
from ibc_pyg.compare.runs import make_runs, read_results, run_grid
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.errors import RunError

SUMMARY = {
    "R@1": 0.5, "MAP@R": 0.4, "queries": 10.0, "select": "last", "seed": 0, "train_seconds": 1.0,
}  # fmt: skip


@pytest.fixture
def experiment(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("select: last\ntrain: {epochs: 20}\n")
    return file


@pytest.fixture
def grid(tmp_path, experiment):
    """A grid of two settings that has been run."""
    jobs = make_runs(make_grid(["model.steps=0,1"]), [0], tmp_path / "grid")
    for job in jobs:
        job.path.mkdir(parents=True)
        config = parse_config(experiment, [*job.point.overrides, "--track.group", "grid"])
        (job.path / "config.yaml").write_text(config_to_yaml(config))
        (job.path / "summary.json").write_text(json.dumps(SUMMARY))
    return jobs


def again(jobs, experiment, fields=()):
    said = []
    run_grid(
        jobs, experiment, fields, workers=1, group="g",
        report=lambda job, what: said.append(what), say=said.append,
    )  # fmt: skip
    return said


def test_what_is_done_is_skipped(grid, experiment):
    assert again(grid, experiment) == ["done before"] * 2
    assert [len(found) for found in read_results(grid).values()] == [1, 1]


def test_runs_of_other_settings_are_not_taken_for_these(grid, experiment):
    with pytest.raises(RunError, match=r"steps=0.seed-0 is a run with train\.epochs = 20, not 3"):
        again(grid, experiment, ["--train.epochs", "3"])


def test_where_a_run_refines_its_refined_scores_count(grid, experiment):
    refined = SUMMARY | {"refined": {"R@1": 0.7, "MAP@R": 0.6}}
    (grid[1].path / "summary.json").write_text(json.dumps(refined))
    plain, better = (found[0] for found in read_results(grid).values())
    assert (plain["R@1"], better["R@1"], better["MAP@R"], better["seed"]) == (0.5, 0.7, 0.6, 0)


def test_where_it_runs_does_not_matter(grid, experiment):
    assert again(grid, experiment, ["--train.threads", "1", "--data.workers", "0"]) == (
        ["done before"] * 2
    )


def test_a_damaged_summary_is_one_line(grid):
    for content in ("{", "{}", json.dumps(SUMMARY | {"R@1": 1})[:40]):
        (grid[0].path / "summary.json").write_text(content)
        with pytest.raises(RunError, match=r"summary\.json"):
            read_results(grid)


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        (["train.seed=1,2"], "the seeds are 0"),
        (["model.steps=1", "model.steps=0"], "model.steps is given twice"),
        (["train.lr=0.1,1.0e-1"], "train.lr=0.1 .*the same|are the same setting"),
    ],
)
def test_rows_that_would_be_the_same_are_refused(experiment, tmp_path, capsys, vary, says):
    words = [word for text in vary for word in ("--vary", text)]
    assert run(["compare", str(experiment), *words, "--out", str(tmp_path / "grid")]) == 2
    assert re.search(says, capsys.readouterr().err)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, experiment):
    (tmp_path / "file").write_text("")
    jobs = make_runs(make_grid([]), [0], tmp_path / "file")
    with pytest.raises(RunError, match="1 of 1 runs failed"):
        again(jobs, experiment)


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path, experiment):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs_module, "run_grid", interrupted)
    assert run(["compare", str(experiment), "--out", str(tmp_path / "grid")]) == 130
    assert "the same command resumes" in capsys.readouterr().out


def test_a_choice_on_the_test_classes_is_marked(grid, experiment, tmp_path, capsys):
    arguments = ["compare", experiment, "--vary", "model.steps=0,1", "--seeds", "1"]
    arguments = [str(word) for word in [*arguments, "--out", tmp_path / "grid"]]
    assert run(arguments) == 0
    assert "test classes" not in capsys.readouterr().out
    (grid[0].path / "summary.json").write_text(json.dumps(SUMMARY | {"select": "test"}))
    assert run(arguments) == 0
    assert "chosen on the test classes" in capsys.readouterr().out
    assert "chosen on the test classes" in (tmp_path / "grid" / "table.html").read_text()

"""Every row is checked before the first is trained."""

import pytest

from ibc_pyg.cli import run
from ibc_pyg.compare import runs as runs_module
from ibc_pyg.compare.runs import check_rows
from ibc_pyg.config import Config
from ibc_pyg.errors import RunError
from ibc_pyg.jobs.pool import Job, JobFailure

SMALL = [
    "--data.name", "digits", "--data.transform", "none",
    "--data.transform_args", "{image_size: 8}", "--data.workers", "0",
    "--data.classes_per_batch", "4", "--data.images_per_class", "2", "--select", "last",
    "--model.embedding_dim", "16", "--model.heads", "2", "--model.backbone_args", "{width: 4}",
    "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
]  # fmt: skip


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Three rows of two seeds, and the jobs that were checked."""
    made = {
        name: [Job(name, tmp_path / name / f"seed-{seed}", Config()) for seed in (0, 1)]
        for name in "abc"
    }
    checked = []

    def check(jobs, **options):
        checked.extend(jobs)
        return [JobFailure(job, "it is broken") for job in jobs if job.name == "c"]

    monkeypatch.setattr(runs_module, "check_jobs", check)
    return made, checked


def test_the_first_run_of_each_new_row(rows):
    made, checked = rows
    said = []
    (made["a"][1].path / "checkpoints" / "step-1").mkdir(parents=True)
    with pytest.raises(
        RunError, match=r"1 of 3 rows cannot be trained, and none was; .*: c: it is"
    ):
        check_rows(made, said.append, workers=1)
    assert checked == [made["b"][0], made["c"][0]]
    assert said == ["checking each of 2 rows by one step"]


def test_a_single_run_is_not_checked(rows):
    made, checked = rows
    said = []
    check_rows({"c": made["c"][:1]}, said.append, workers=1)
    assert checked == said == []


def test_a_row_that_fails_is_named_before_any_training(tmp_path, capsys):
    experiment = tmp_path / "e.yaml"
    experiment.write_text("train: {seed: 0}\n")
    words = ["compare", str(experiment), *SMALL, "--seeds", "1", "--out", str(tmp_path / "grid"),
             "--vary", "model.conv=none,GATCon"]  # fmt: skip
    assert run(words) == 2
    caught = capsys.readouterr()
    assert "1 of 2 rows cannot be trained" in caught.err
    assert "conv=GATCon: model.conv: unknown layer 'GATCon'; did you mean GATConv" in caught.err
    assert "started" not in caught.out
    assert not list(tmp_path.glob("grid/*/*"))
    missing = ["--vary", "model.steps=0,1", "--data.name", "cub", "--data.root", "nowhere"]
    assert run([*words[:-2], *missing]) == 2
    assert "nowhere" in capsys.readouterr().err

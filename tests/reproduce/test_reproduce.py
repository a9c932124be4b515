"""The command reproduce, at the scale of a test."""

import pytest

from ibc_pyg.cli import run
from ibc_pyg.commands import reproduce
from ibc_pyg.config.evaluate import MPN_REFINERS
from ibc_pyg.data.sample import make_sample
from ibc_pyg.files import read_json, write_json
from ibc_pyg.reproduce.paper import BENCHMARKS
from ibc_pyg.reproduce.plan import make_plan
from ibc_pyg.reproduce.table import to_markdown

SMALL = [
    "--model.backbone", "resnet6", "--model.backbone_args", "{width: 8, widths: [8, 16]}",
    "--model.weights", "null", "--model.embedding_dim", "16", "--data.transform", "glyphs",
    "--data.transform_args",
    "{image_size: 16, resize: 16, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}",
    "--train.device", "cpu", "--data.workers", "0",
]  # fmt: skip


def test_sets_of_the_command_are_those_of_the_paper():
    assert tuple(BENCHMARKS) == reproduce.SETS


def test_rows_with_message_passing_are_refined_by_it(tmp_path):
    plan = make_plan("cub", tmp_path, [], seeds=1, as_released=True)
    refined = {job.name: job.config.evaluate.refine in MPN_REFINERS for job in plan.jobs}
    assert refined == {
        "method": True, "no messages": True, "cross-entropy": False, "as released": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["cub", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cars", "sop", "inshop"))],
)
def test_a_dry_run_steps_each_row_and_writes_nothing(name, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["reproduce", name, "--dry-run", "--as-released", "--out", str(out)]
    assert run([*words, *SMALL, "--data.root", str(tmp_path / "nowhere")]) == 0
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).split())
    for row in ("method: ", "no messages: ", "cross-entropy: ", "as released: "):
        assert row in text
    assert "20 runs" in text
    assert "estimate, not measured" in text
    assert not out.exists()


def test_the_table_has_the_mean_and_interval_of_finished_seeds(tmp_path):
    plan = make_plan("cub", tmp_path, [], seeds=3, as_released=False)
    for job, score in zip(plan.rows()["method"][:2], (0.6, 0.7), strict=True):
        job.path.mkdir(parents=True)
        scores = {"R@1": score, "refined": {"R@1": score + 0.1}}
        common = {"queries": 9.0, "select": "val", "seed": 0, "train_seconds": 1.0}
        write_json(job.path / "summary.json", common | scores)
    lines = to_markdown(plan, images=11_788).splitlines()
    # t of 0.975 with one degree of freedom is 12.706; the standard error is 5.
    assert "| method | 2 | 65.0 ± 63.5 | - | - | - | - |" in lines
    assert "| method, refined | 2 | 75.0 ± 63.5 | - | - | - | - |" in lines
    assert "| paper | - | 70.3 | 80.3 | 87.6 | 92.7 | 73.2 |" in lines
    assert "not comparable" not in lines[-1]
    partly = to_markdown(plan, images=543, fields=["--model.weights", "null"]).splitlines()
    assert partly[:-4] == lines
    assert partly[-3] == "543 of 11,788 images: not comparable with the paper."
    assert partly[-1] == "All rows with `--model.weights null`."


@pytest.mark.slow
def test_a_table_is_trained_and_goes_on_after_a_cut(tmp_path):
    root = make_sample("cub", tmp_path / "cub", classes=12, images=10)
    words = ["reproduce", "cub", "--seeds", "2", "--out", str(tmp_path / "out"), *SMALL]
    words += ["--data.root", str(root), "--data.allow_partial", "true", "--train.epochs", "1"]
    words += ["--data.val_classes", "0.3", "--train.lr_milestones", "[]"]
    words += ["--track.report", "false"]
    assert run(words) == 0
    first = (tmp_path / "out/paper.md").read_text()
    assert "| method | 2 |" in first
    assert "| no messages, refined | 2 |" in first
    assert "240 of 11,788 images" in first
    cut = tmp_path / "out/method/seed-1"
    before = read_json(cut / "summary.json")["R@1"]
    (cut / "summary.json").unlink()
    assert run(words) == 0
    assert read_json(cut / "summary.json")["R@1"] == before
    assert (tmp_path / "out/paper.md").read_text() == first

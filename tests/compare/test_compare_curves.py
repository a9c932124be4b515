"""The course of runs against their histories."""

import csv
import json

import numpy as np
import pytest

from ibc_pyg.compare.curves import LOSSES, read_curves, write_curves


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    losses = np.random.default_rng(0).random(205)
    lines = [{"step": 1 + at, "time": 0, "train/loss": loss} for at, loss in enumerate(losses)]
    lines.insert(100, {"step": 100, "time": 0, "epoch": 1, "val/R@1": 0.25, "val/RP": 0.5})
    lines.append({"step": 205, "time": 0, "epoch": 2, "val/R@1": 0.75, "train/loss": None})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder, losses


def test_scores_as_they_are_and_losses_as_means(run, tmp_path):
    folder, losses = run
    rows = read(write_curves(read_curves([("a, b", 3, folder)]), tmp_path / "curves.csv"))
    assert {(row["setting"], row["seed"]) for row in rows} == {("a, b", "3")}
    scores = [(row["step"], row["value"]) for row in rows if row["what"] == "val/R@1"]
    assert scores == [("100", "0.25"), ("205", "0.75")]
    points = [row for row in rows if row["what"] == "train/loss"]
    assert len(points) == LOSSES
    steps = [0, *(int(row["step"]) for row in points)]
    assert steps[-1] == 205
    for first, last, row in zip(steps, steps[1:], points, strict=False):
        assert float(row["value"]) == pytest.approx(losses[first:last].mean(), rel=1e-5)


def test_scores_alone_and_no_history(run, tmp_path):
    (tmp_path / "empty").mkdir()
    runs = [("a", 0, run[0]), ("b", 0, tmp_path / "empty")]
    rows = read(write_curves(read_curves(runs, losses=False), tmp_path / "curves.csv"))
    assert [row["what"] for row in rows] == ["val/R@1", "val/R@1"]

"""A whole sweep on real runs: trials see no test class, and the winner can be trained again."""

import json

import pytest
import yaml

from ibc_pyg.cli import run
from ibc_pyg.data.sample import make_sample

pytestmark = pytest.mark.slow


def test_a_whole_sweep(tmp_path):
    root, out = tmp_path / "pictures", tmp_path / "out"
    make_sample("folder", root, classes=6, images=6)
    base = {
        "select": "last",
        "data": {"name": "folder", "root": str(root), "classes_per_batch": 2,
                 "images_per_class": 3, "workers": 0, "val_classes": 0.4,
                 "transform": "imagenet", "transform_args": {"image_size": 32}},
        "model": {"backbone_args": {"width": 8}, "embedding_dim": 16, "heads": 2},
        "train": {"epochs": 2, "lr_milestones": [], "threads": 1},
        "track": {"report": False},
    }  # fmt: skip
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    sweep = {
        "method": "grid",
        "metric": {"name": "val/R@1", "goal": "maximize"},
        "command": ["python", "run.py", "train", str(tmp_path / "base.yaml"), "${args}"],
        # The last one diverges.
        "parameters": {"train.lr": {"values": [1e-5, 4e-3, 1e30]}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    command = ["sweep", str(tmp_path / "sweep.yaml"), "--trials", "9", "--seeds", "2"]
    assert run([*command, "--out", str(out), "--threads", "1"]) == 0

    trials = json.loads((out / "trials.json").read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "finished", "failed"]
    for number in range(2):
        folder = out / "base" / f"trial-{number:03d}"
        history = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        assert not any(name.startswith("test/") for record in history for name in record)
        assert not (folder / "report.html").exists()

    best = max(trials[:2], key=lambda trial: trial["score"])["number"]
    again = tmp_path / "again"
    assert run(["train", str(out / "base" / "best.yaml"), "--out", str(again)]) == 0
    winner = out / "base" / f"winner-{best:03d}" / "seed-1"
    weights = [(folder / "model.safetensors").read_bytes() for folder in (winner, again)]
    assert weights[0] == weights[1]
    (row,) = json.loads((out / "table.json").read_text())["rows"]
    scores = [
        json.loads((winner.parent / f"seed-{seed}" / "summary.json").read_text())["R@1"]
        for seed in (1, 2)
    ]
    assert row["metrics"]["R@1"]["mean"] == pytest.approx(sum(scores) / 2)

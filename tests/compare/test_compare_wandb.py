"""Runs of a comparison are one group at W&B, told apart by tags; read back from an offline run."""

import json
import subprocess
import sys

import pytest

from ibc_pyg.compare.grid import make_grid
from ibc_pyg.compare.runs import check_settings, make_runs, tracked
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.jobs.pool import Job, run_jobs

pytest.importorskip("wandb")


def read_back(folder):
    """Return group and tags of the only offline run, and its last value of each metric."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in output.splitlines()]
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    last = {}
    for record in records:
        if record["type"] == "history":
            last |= record["history"]["item"]
    return run["run_group"], run["tags"], last


def test_the_group_of_an_offline_run(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    root = tmp_path / "pictures"
    make_sample("folder", root, classes=4, images=6)
    fields = [
        f"--data.root={root}", "--data.name=folder", "--data.transform=imagenet",
        "--data.transform_args={image_size: 32}", "--data.classes_per_batch=2",
        "--data.images_per_class=3", "--data.workers=0", "--model.backbone_args={width: 8}",
        "--model.embedding_dim=16", "--train.epochs=1", "--train.lr_milestones=[]",
        "--select=last", "--track.report=false", "--track.wandb=offline",
    ]  # fmt: skip
    (job,) = make_runs(make_grid(["model.heads=2"]), [0], tmp_path / "grid")
    config = parse_config(None, [*fields, *job.point.overrides])
    task = Job("heads=2", job.path, tracked(config, "grid", job.point.name, name="heads=2 seed 0"))
    check_settings([task])
    assert run_jobs([task], workers=1, threads=1, report=lambda task, what: None) == []
    group, tags, last = read_back(job.path)
    assert (group, tags) == ("grid", ["heads=2"])
    assert last["test/R@1"] == json.loads((job.path / "summary.json").read_text())["R@1"]


def test_a_group_and_tags_of_ones_own_stay():
    config = parse_config(None, ["--track.group=mine", "--track.tags=[a]", "--track.name=n"])
    assert tracked(config, "grid", "b", name="b seed 0").track == config.track
    named = tracked(parse_config(None, []), "grid", "x" * 100, "trial", name="x seed 0").track
    # W&B refuses longer tags.
    assert (named.group, named.tags) == ("grid", ["x" * 64, "trial"])
    assert named.name == "x seed 0"

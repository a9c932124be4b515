"""The command line under torchrun, as a person starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from ibc_pyg.runs.checkpoint import list_checkpoints

ROOT = Path(__file__).resolve().parents[2]


def torchrun(processes, *words):
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc_per_node", str(processes), str(ROOT / "run.py"), *words,
        ],
        capture_output=True, text=True, timeout=280, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"},
    )  # fmt: skip


def test_two_processes_train_the_embedded_data_set(tmp_path):
    out = tmp_path / "run"
    ended = torchrun(
        2, "train", str(ROOT / "experiments" / "glyphs.yaml"), "--out", str(out),
        # Shortened: one epoch, a small backbone, retrieval alone at the end.
        "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0",
        "--train.device", "cpu",
        "--model.backbone", "conv4", "--model.backbone_args", "{width: 8}",
        "--evaluate.clustering", "false", "--evaluate.raw_pixels", "false",
        "--track.report", "false",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    # One process speaks and writes.
    assert ended.stdout.count("test images of unseen classes") == 1
    lines = (out / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "train/loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    assert len(list_checkpoints(out / "checkpoints")) == 1
    summary = json.loads((out / "summary.json").read_text())
    assert summary["queries"] == 14206
    assert 0 < summary["R@1"] <= summary["R@8"] <= 1


def test_a_mistake_is_told_once_and_ends_every_process():
    ended = torchrun(2, "compare", str(ROOT / "experiments" / "glyphs.yaml"), "--out", "nowhere")
    told = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: compare runs in one process: start it without torchrun; "
        "only train and index work support several"
    ]

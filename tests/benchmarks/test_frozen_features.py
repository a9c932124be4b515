"""benchmarks/frozen_features.py scores the input of the embedding layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torchvision

from ibc_pyg.data.sample import make_sample

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
data: {name: folder, root: pictures, transform: imagenet, workers: 0, classes_per_batch: 2,
       images_per_class: 2}
model: {backbone: mobilenet_v2, backbone_args: {width_mult: 0.1, pooling: avg}}
"""


def run(folder: Path, weights: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/frozen_features.py"), "experiment.yaml"]
    return subprocess.run(
        [*command, "--weights", weights, "--json", "out.json"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_the_features_are_scored(tmp_path: Path) -> None:
    make_sample("folder", tmp_path / "pictures")
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    torch.manual_seed(0)
    torch.save(
        torchvision.models.mobilenet_v2(width_mult=0.1).state_dict(), tmp_path / "weights.pt"
    )
    done = run(tmp_path, "weights.pt")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["results"]
    assert found["width"] == 1280
    assert 0 <= found["scores"]["R@1"] <= 1

"""benchmarks/refiner.py compares on tiny files, and pairs networks."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]


def test_tiny_run_over_two_networks(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name in ("fold", "one", "two"):
        labels = np.repeat(np.arange(10), 6)
        vectors = draws.normal(size=(10, 16))[labels] + 0.7 * draws.normal(size=(60, 16))
        np.savez(tmp_path / f"{name}.npz", embeddings=vectors.astype("f4"), labels=labels)
    files = ["--train", "fold.npz", "--test", "one.npz", "two.npz", "--json", "out.json"]
    options = ["--name", "tiny", "--steps", "2", "--settings", "5,8.0,0.1", "--without"]
    left_out = ["aqe", "gcr", "gnn", "diffusion"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/refiner.py"), *files, *options, *left_out],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert list(report["rows"]) == [
        "plain", "dba", "k_reciprocal", "refiner", "refiner, no messages",
    ]  # fmt: skip
    assert all(len(row["test"]["R@1 kept"]) == 2 for row in report["rows"].values())
    assert "over 2 networks" in done.stdout
    assert "--test one.npz two.npz" in report["command"]


def test_shares_score_as_descriptors_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    refiner = importlib.import_module("refiner")
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat_interleave(5)
    x, y = (F.normalize(torch.randn(60, 8, generator=draws), dim=1) for _ in range(2))
    found = refiner._by_shares(x, (y, y), labels, refiner.SHARES)
    for share in refiner.SHARES:
        both = torch.cat([share**0.5 * x, (1 - share) ** 0.5 * y], 1)
        expected = refiner._ranked(refiner._nearest(both, both, 4), labels)
        assert found[share] == pytest.approx(expected)

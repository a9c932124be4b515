"""benchmarks/index_search.py runs and writes its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def test_tiny_run_writes_json_and_markdown(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    np.save(tmp_path / "photographs.npy", vectors)
    report_file, table_file = tmp_path / "out.json", tmp_path / "out.md"
    done = subprocess.run(
        [sys.executable, "benchmarks/index_search.py", "--sizes", "600", "--queries", "30",
         "--vectors", str(tmp_path / "photographs.npy"), "--candidates", "ivf", "--threads", "1",
         "--open-only", "1000", "--json", str(report_file), "--markdown", str(table_file)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    flat, ours = report["results"]
    assert (flat["candidate"], ours["candidate"]) == ("flat", "ivf")
    assert flat["tried"][0]["recall"] == 1
    assert 0.9 <= ours["tried"][0]["recall"] <= 1
    assert report["dim"] == 16
    (opened,) = report["opened"]
    assert (opened["rows"], opened["dim"]) == (1000, 128)
    assert opened["resident_bytes"] - opened["imports_bytes"] < 64 * 2**20
    table = table_file.read_text()
    assert "**ibc_pyg**, ivf" in table
    assert "Opening 1,000 x 128" in table

"""benchmarks/training.py runs and writes its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "benchmarks/training.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


def test_tiny_run_writes_json_and_markdown(tmp_path: Path) -> None:
    report_file, table_file = tmp_path / "training.json", tmp_path / "training.md"
    done = run(
        *("--sizes", "digits", "--repeats", "4"),
        *("--json", str(report_file), "--markdown", str(table_file)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    (row,) = report["results"]
    assert (row["case"], row["images"], row["pixels"]) == ("digits", 32, 8)
    for name in ("bare", "step", "between", "load", "inside", "head", "whole", "sampler"):
        assert row[name] > 0, name
    assert row["inside"] < row["step"]
    assert row["images_per_s"] == pytest.approx(32 / (row["step"] + row["between"]))
    assert row["ratio"] == pytest.approx(row["images_per_s"] / row["bare_images_per_s"])
    assert 0 < row["own_share"] < 1
    assert row["utilisation"] is None
    assert {"processor", "threads", "torch", "date"} <= set(report["machine"])
    table = table_file.read_text()
    assert report["command"] in table
    assert table in done.stdout
    assert table.count("**ibc_pyg**") == 2


def test_an_unknown_size_is_named() -> None:
    done = run("--sizes", "vgg")
    assert done.returncode != 0
    assert "'vgg'" in done.stderr
    assert "Traceback" not in done.stderr

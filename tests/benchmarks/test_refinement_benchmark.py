"""benchmarks/refinement.py runs and writes its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tiny_run_writes_json_and_markdown(tmp_path: Path) -> None:
    report_file, table_file = tmp_path / "out.json", tmp_path / "out.md"
    sizes = ["--samples", "120", "--dim", "16", "--steps", "1", "--repeats", "2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "benchmarks/refinement.py", *sizes, "--json", str(report_file),
         "--markdown", str(table_file)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    (row,) = report["results"]
    assert row["steps"] == 1
    assert set(row["seconds"]) == {"search", "messages", "knn", "k_reciprocal"}
    assert all(value > 0 for value in row["seconds"].values())
    ratio = row["seconds"]["k_reciprocal"] / row["seconds"]["search"]
    assert f"| {ratio:.2f} |" in table_file.read_text()

"""benchmarks/refinement_search.py runs and writes its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tiny_run_writes_json_and_markdown(tmp_path: Path) -> None:
    report_file, table_file = tmp_path / "out.json", tmp_path / "out.md"
    sizes = ["--gallery", "100", "--queries", "9", "--dim", "8", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "benchmarks/refinement_search.py", *sizes, "--json", str(report_file),
         "--markdown", str(table_file)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(report_file.read_text())["results"]["methods"]
    assert [row["method"] for row in rows] == [
        "aqe", "dba", "gcr", "diffusion", "gnn", "k_reciprocal", "refiner",
    ]  # fmt: skip
    assert all({"gallery", "queries", "extra_bytes"} <= row.keys() for row in rows)  # none stopped
    table = table_file.read_text()
    assert all(f"| `{row['method']}` |" in table for row in rows)
    assert table.count("with the queries") == 3

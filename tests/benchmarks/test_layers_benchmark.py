"""benchmarks/layers.py runs and writes its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/layers.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_tiny_run_writes_json_and_markdown(tmp_path: Path) -> None:
    report_file, table_file = tmp_path / "layers.json", tmp_path / "layers.md"
    layers = ["PyG GATConv", "fused GATConv"]
    sizes = ["--sizes", "24", "--channels", "8", "--repeats", "3", "--seconds", "0.1"]
    done = run(
        "--layers", *layers, *sizes, "--json", str(report_file), "--markdown", str(table_file)
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    assert [row["layer"] for row in report["results"]] == layers
    for row in report["results"]:
        assert row["nodes"] == 24
        assert row["forward"] > 0
        assert row["forward_backward"] > 0
        assert row["extra_bytes"] >= 0
        assert row["repeats"] >= 3
    slow, fast = report["results"]
    (ratio,) = report["ratios"]
    assert ratio["forward"] == slow["forward"] / fast["forward"]
    assert {"processor", "threads", "torch", "date"} <= set(report["machine"])
    table = table_file.read_text()
    assert report["command"] in table
    assert table in done.stdout
    assert table.count("| fused GATConv |") == 2


def test_unknown_layer_is_named() -> None:
    done = run("--layers", "GATConf", "--sizes", "4")
    assert done.returncode != 0
    assert "unknown ['GATConf']" in done.stderr
    assert "Traceback" not in done.stderr

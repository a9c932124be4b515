"""benchmarks/index.py measures a build and a sync, and says what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.index_pictures import FINISHED_RUN, save_pictures

ROOT = Path(__file__).resolve().parents[2]


def test_build_and_sync_are_measured(tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", 12)
    command = [sys.executable, str(ROOT / "benchmarks/index.py"), "--images", "photos"]
    options = ["--model", str(FINISHED_RUN), "--small-model", str(FINISHED_RUN), "--files", "20"]
    more = ["--batch-size", "4", "--rounds", "1", "--json", "out.json", "--note", "busy"]
    subprocess.run(
        [*command, *options, *more],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
    )  # fmt: skip
    report = json.loads((tmp_path / "out.json").read_text())
    build, sync = report["results"]["build"], report["results"]["sync"]
    assert build["pictures"] == 12
    assert set(build["images_per_second"]) == {"decode", "forward", "build"}
    assert sync["reports"] == {
        "sync after five changes": "1 added, 1 changed, 1 renamed, 1 copied, 1 gone, 17 unchanged "
        "(2 embedded)",
        "sync again": "21 unchanged (0 embedded)",
    }

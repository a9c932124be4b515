from __future__ import annotations

import json
import logging
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibc_pyg.errors import ConfigError
from ibc_pyg.track import WandbTracker

CONFIG = {"model": {"steps": 1, "heads": 4}, "data": {"name": "glyphs", "root": None}}


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(autouse=True)
def _fresh_settings():
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()


def read_back(run_dir: Path) -> list[dict]:
    """All records of the only offline run in `run_dir`, by the library's own reader."""
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("ibc_pyg")]


def test_offline_run_is_read_back(tmp_path):
    tracker = WandbTracker(
        "offline",
        project="glyph-trials",
        name="one",
        group="seeds",
        tags=["demo", "cpu"],
        run_dir=tmp_path,
        config=CONFIG,
    )
    picture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    tracker.log(1, {"loss": 2.5, "lr": 0.004})
    tracker.log(2, {"loss": float("nan")})
    tracker.image(2, "gallery", picture, "ten nearest")
    tracker.log(3, {"R@1": 0.5})
    tracker.summary({"R@1": 0.75, "NMI": 0.9})
    tracker.log(3, {"MAP@R": 0.25})
    run_id = tracker.run_id
    tracker.close()
    tracker.close()

    records = read_back(tmp_path)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["project"], run["run_id"]) == ("glyph-trials", run_id)
    config = {k: v for k, v in run["config"]["update"].items() if k != "_wandb"}
    assert config == CONFIG
    assert "seeds" in json.dumps(run)
    assert "demo" in json.dumps(run)

    rows = {
        record["history"]["item"]["_step"]: record["history"]["item"]
        for record in records
        if record["type"] == "history"
    }
    assert (rows[1]["loss"], rows[1]["lr"], rows[2]["loss"]) == (2.5, 0.004, "NaN")
    assert (rows[3]["R@1"], rows[3]["MAP@R"]) == (0.5, 0.25)
    assert (rows[2]["gallery.width"], rows[2]["gallery.height"]) == (20, 12)
    assert rows[2]["gallery.caption"] == "ten nearest"
    (stored,) = tmp_path.glob(f"wandb/offline-run-*/files/{rows[2]['gallery.path']}")
    np.testing.assert_array_equal(np.asarray(Image.open(stored).convert("RGB")), picture)

    summary: dict[str, float] = {}
    for record in records:
        if record["type"] == "summary":
            summary.update(record["summary"]["update"])
    assert (summary["R@1"], summary["NMI"], summary["MAP@R"]) == (0.75, 0.9, 0.25)


def test_a_rewound_run_is_written_anew(tmp_path):
    tracker = WandbTracker("offline", run_dir=tmp_path)
    for step in (1, 2, 3):
        tracker.log(step, {"loss": 9.0})
    tracker.rewind([{"step": 1, "time": 0.0, "loss": 2.0}, {"step": 2, "time": 0.0, "loss": None}])
    tracker.log(3, {"loss": 1.0})
    run_id = tracker.run_id
    tracker.close()
    rows = [record["history"]["item"] for record in read_back(tmp_path) if "history" in record]
    assert [(row["_step"], row["loss"]) for row in rows] == [(1, 2.0), (2, "NaN"), (3, 1.0)]
    assert run_id is not None
    assert len(list(tmp_path.glob(f"wandb/superseded-run-*-{run_id}"))) == 1


def test_resumed_run_keeps_its_id(tmp_path):
    tracker = WandbTracker("offline", run_dir=tmp_path, run_id="abc123")
    assert tracker.run_id == "abc123"
    tracker.close()
    assert tracker.run_id is None


def offline_message(caplog):
    """The reason of the only warning."""
    (message,) = ours(caplog)
    match = re.fullmatch(r"W&B runs offline \((.*)\); upload later: `wandb sync`", message)
    assert match, message
    return match[1]


def test_online_without_a_key_runs_offline_with_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tracker = WandbTracker("online", run_dir=tmp_path)
        tracker.log(1, {"loss": 1.0})
        tracker.close()
    assert tracker.mode == "offline"
    assert tracker.url is None
    assert offline_message(caplog) == "no API key: run `wandb login`"
    assert any(record["type"] == "history" for record in read_back(tmp_path))


@pytest.mark.parametrize("listening", [False, True])
def test_online_without_an_answer_runs_offline(tmp_path, monkeypatch, caplog, listening):
    """The server refuses connections, or accepts them and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listening:
            server.close()
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        with caplog.at_level(logging.WARNING):
            tracker = WandbTracker("online", run_dir=tmp_path, init_timeout=1.0)
            tracker.log(1, {"loss": 1.0})
            tracker.close()
    assert tracker.mode == "offline"
    assert offline_message(caplog).startswith("CommError: Timed out")
    assert any(record["type"] == "history" for record in read_back(tmp_path))


def test_a_run_that_the_server_refuses_runs_offline(tmp_path, monkeypatch, caplog):
    import wandb

    start = wandb.init

    def refuse_online(*, mode, **arguments):
        if mode == "online":
            raise PermissionError("invalid key\nwith a long explanation")
        return start(mode=mode, **arguments)

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb, "init", refuse_online)
    with caplog.at_level(logging.WARNING):
        tracker = WandbTracker("online", run_dir=tmp_path)
        tracker.close()
    assert offline_message(caplog) == "PermissionError: invalid key"
    assert read_back(tmp_path)


def test_failures_inside_the_library_are_warned_about_once(tmp_path, caplog):
    class Dying:
        id = "x"

        def log(self, *args, **kwargs):
            raise BrokenPipeError("service died")

        finish = log

    tracker = WandbTracker("offline", run_dir=tmp_path)
    tracker._run.finish()
    tracker._run = Dying()
    with caplog.at_level(logging.WARNING):
        tracker.log(1, {"loss": 1.0})
        tracker.image(1, "gallery", np.zeros((4, 4, 3), np.uint8))
        tracker.summary({"R@1": 1.0})
        tracker.close()
    assert ours(caplog) == ["W&B failed, training continues: BrokenPipeError: service died"]


def test_no_run_at_all_is_survived(tmp_path, monkeypatch, caplog):
    import wandb

    def fail(**arguments):
        raise RuntimeError("no service")

    monkeypatch.setattr(wandb, "init", fail)
    with caplog.at_level(logging.WARNING):
        tracker = WandbTracker("offline", run_dir=tmp_path)
    tracker.log(1, {"loss": 1.0})
    tracker.close()
    assert tracker.run_id is None
    assert len(ours(caplog)) == 1


def test_disabled_does_not_import_the_library():
    code = (
        "import sys; from ibc_pyg.track import WandbTracker; t = WandbTracker('disabled');"
        "t.log(1, {'loss': 1.0}); t.close(); assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_missing_package_names_the_field_and_the_extra(monkeypatch, mode):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"track\.wandb.*ibc-pyg\[wandb\]"):
        WandbTracker(mode)


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match=r"track\.wandb must be one of online, offline, disabled"):
        WandbTracker("maybe")  # type: ignore[arg-type]


def test_wrong_picture_is_refused(tmp_path):
    tracker = WandbTracker("disabled", run_dir=tmp_path)
    with pytest.raises(ValueError, match="picture must be uint8"):
        tracker.image(1, "gallery", np.zeros((4, 4), np.uint8))


def test_artifacts_and_the_upload_of_an_offline_run(tmp_path):
    (tmp_path / "table.md").write_text("| a |")
    tracker = WandbTracker("offline", run_dir=tmp_path / "my run")
    tracker.artifact("table", "table", [tmp_path / "table.md"])
    run_id = tracker.run_id
    tracker.close()
    records = read_back(tmp_path / "my run")
    assert f"table-{run_id}" in json.dumps(records)
    (folder,) = (tmp_path / "my run").glob("wandb/offline-run-*")
    # The command is one that a shell can read.
    assert shlex.split(tracker.upload_command) == ["wandb", "sync", str(folder)]
    assert WandbTracker("disabled").upload_command is None

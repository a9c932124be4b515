"""Runs in processes of a pool: the same weights as by the command line, failures, interrupts."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.data.sample import make_sample
from ibc_pyg.jobs.pool import Job, run_jobs
from ibc_pyg.jobs.worker import Order, _run
from ibc_pyg.runs.environment import command_line
from ibc_pyg.runs.run_lock import locked
from ibc_pyg.runs.source_record import digests


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "pictures"
    make_sample("folder", root, classes=4, images=6)
    return parse_config(
        None,
        ["--data.name=folder", f"--data.root={root}", "--data.transform=imagenet",
         "--data.transform_args={image_size: 32}", "--data.classes_per_batch=2",
         "--data.images_per_class=3", "--data.workers=0", "--model.backbone_args={width: 8}",
         "--model.embedding_dim=16", "--model.heads=2", "--model.mpn_args={dropout_mlp: 0.1}",
         "--train.epochs=2", "--train.lr_milestones=[]", "--select=last",
         "--track.report=false"],
    )  # fmt: skip


def say(said):
    return lambda job, what: said.append((job.name, what))


def test_a_forked_process_trains_the_same_weights_as_the_command(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(config))
    subprocess.run(
        [sys.executable, "-m", "ibc_pyg", "train", str(file), "--out", str(tmp_path / "command")],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    # Its seed and threads must not affect the runs after it.
    other = replace(config, train=replace(config.train, seed=7, threads=2))
    diverging = replace(config, train=replace(config.train, lr=1e30))
    broken = replace(config, data=replace(config.data, root=str(tmp_path / "nowhere")))
    jobs = [
        Job("other", tmp_path / "pool" / "other", other),
        Job("diverging", tmp_path / "pool" / "diverging", diverging),
        Job("broken", tmp_path / "pool" / "broken", broken),
        Job("same", tmp_path / "pool" / "same", config),
    ]
    said = []
    failures = run_jobs(jobs, workers=1, threads=1, report=say(said))

    weights = [(tmp_path / path / "model.safetensors").read_bytes() for path in
               ("command", "pool/same", "pool/other")]  # fmt: skip
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    # A divergence is final, a missing folder is not.
    assert [(each.job.name, each.final) for each in failures] == [
        ("diverging", True), ("broken", False),
    ]  # fmt: skip
    assert "nowhere" in failures[1].message
    log = (tmp_path / "pool" / "diverging.log").read_text()
    assert log.splitlines()[-1] == f"error: {failures[0].message}"
    assert ("same", "finished") in said
    made = json.loads((tmp_path / "pool" / "same" / "environment.json").read_text())
    assert made["command"] == command_line()

    said.clear()
    assert run_jobs([jobs[0], jobs[3]], workers=2, report=say(said)) == []
    assert said == [("other", "done before"), ("same", "done before")]


@pytest.mark.parametrize("ignored", [False, True])
def test_interrupt_as_the_first_runs_start(config, tmp_path, ignored):
    """No run continues, even if SIGINT is ignored, as behind a shell's `&`."""
    config = replace(config, train=replace(config.train, epochs=200))
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(config))
    command = [sys.executable, "-m", "ibc_pyg", "compare", str(file), "--vary"]
    command += ["model.heads=1,2,4", "--seeds", "1", "--jobs", "2", "--out", str(tmp_path / "out")]
    grid = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )  # fmt: skip
    assert grid.stdout is not None
    assert any("started" in line for line in grid.stdout)
    grid.send_signal(signal.SIGTERM)
    said = grid.communicate(timeout=120)[0]
    assert grid.returncode == 130, said
    assert "the same command resumes" in said
    # The command has waited for its runs.
    assert not list((tmp_path / "out").glob("*/*/summary.json"))
    histories = list((tmp_path / "out").glob("*/*/metrics.jsonl"))
    sizes = [path.stat().st_size for path in histories]
    time.sleep(0.5)
    assert [path.stat().st_size for path in histories] == sizes
    assert len(histories) <= 2


@pytest.mark.slow
def test_resume_after_sigterm_gives_the_same_weights(config, tmp_path):
    """The command is stopped during a run, and resumes when it is run again."""
    config = replace(config, train=replace(config.train, epochs=40, checkpoint_every=40))
    file = tmp_path / "config.yaml"
    file.write_text(config_to_yaml(config))
    command = [sys.executable, "-m", "ibc_pyg", "compare", str(file), "--seeds", "1"]

    def start(out):
        return subprocess.Popen(
            [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    resumable = start(tmp_path / "cut")
    history = tmp_path / "cut" / "as-is" / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (history.is_file() and history.read_text().count("\n") > 5):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    resumable.send_signal(signal.SIGTERM)
    output = resumable.communicate()[0]
    assert resumable.returncode == 130
    assert "the same command resumes" in output
    assert any((history.parent / "checkpoints").glob("step-*"))
    assert not (history.parent / "summary.json").exists()

    again = start(tmp_path / "cut").communicate()[0]
    assert "seed 0: resumed" in again
    start(tmp_path / "whole").communicate()
    weights = [
        (tmp_path / name / "as-is" / "seed-0" / "model.safetensors").read_bytes()
        for name in ("cut", "whole")
    ]
    assert weights[0] == weights[1]


def test_a_run_that_another_process_trains_may_be_tried_again(config, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with locked(out):
        (failure,) = run_jobs([Job("a", out, config)], workers=1, threads=1, report=say([]))
    assert "is in use by process" in failure.message
    assert not failure.final


def test_code_that_was_edited_while_runs_were_trained_is_refused(config, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("class Own: pass\n")
    before = digests([f"{file}:Own"])
    file.write_text("class Own: edited = 1\n")
    order = Order(tmp_path / "run", config, tmp_path / "log", resume=False, threads=1,
                  trust_code=False, start_method="spawn", code=before)  # fmt: skip
    outcome = _run(order, threading.Event(), Console(file=io.StringIO()))
    assert outcome.status == "failed"
    assert f"{file}:Own was edited" in outcome.message
    assert not outcome.final  # a sweep trains it once the file is restored
    assert not (tmp_path / "run").exists()


def test_a_run_in_progress_is_reported_with_its_steps(config, tmp_path, monkeypatch):
    monkeypatch.setattr("ibc_pyg.jobs.pool.PROGRESS_SECONDS", 0.01)
    said = []
    assert (
        run_jobs([Job("a", tmp_path / "a", config)], workers=1, threads=1, report=say(said)) == []
    )
    assert [said[0], said[-1]] == [("a", "started"), ("a", "finished")]
    lines = [line for _, line in said[1:-1]]
    assert lines
    assert len(set(lines)) == len(lines)
    assert all(line.startswith("train ") and " loss " in line for line in lines)

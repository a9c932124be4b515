"""W&B that fails in mid-run stops nothing, and costs the run's own history nothing."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ibc_pyg.training import fit as fit_module
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quick, quiet, records

OFFLINE = ("--track.wandb", "offline", "--train.epochs", "2", "--train.lr_milestones", "[]")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    options = (*OFFLINE, "--track.wandb", "disabled")
    return train(quick(*options), tmp_path_factory.mktemp("plain") / "run", quiet())


def at_step(monkeypatch, number, act):
    """Call `act` before the step of that number."""
    step, taken = fit_module.train_step, []

    def acting(experiment, batch):
        taken.append(1)
        if len(taken) == number:
            act()
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", acting)


def test_a_library_that_raises(plain, tmp_path, monkeypatch, caplog):
    import wandb

    def raise_from_now_on():
        def failing(self, *arguments, **options):
            raise BrokenPipeError("the service is gone")

        monkeypatch.setattr(wandb.Run, "log", failing)

    at_step(monkeypatch, 20, raise_from_now_on)
    with caplog.at_level(logging.WARNING, logger="ibc_pyg"):
        run = train(quick(*OFFLINE), tmp_path / "run", quiet())
    assert records(run) == records(plain)
    assert run.weights.read_bytes() == plain.weights.read_bytes()
    said = [record.getMessage() for record in caplog.records if "W&B" in record.getMessage()]
    assert said == ["W&B failed, training continues: BrokenPipeError: the service is gone"]


def services():
    """Process numbers of the library's service."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        parent = (path.parent / "stat").read_text().rpartition(")")[2].split()[1]
        if words[0].endswith(b"wandb-core") and parent == str(os.getpid()):
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process in /proc")
def test_a_service_that_is_killed(plain, tmp_path, monkeypatch, caplog):
    killed = []

    def kill():
        for number in services():
            os.kill(number, signal.SIGKILL)
            killed.append(number)

    at_step(monkeypatch, 20, kill)
    with caplog.at_level(logging.WARNING, logger="ibc_pyg"):
        run = train(quick(*OFFLINE), tmp_path / "run", quiet())
    assert killed
    assert records(run) == records(plain)
    assert run.weights.read_bytes() == plain.weights.read_bytes()
    assert sum("W&B failed" in record.getMessage() for record in caplog.records) == 1


def test_a_resumed_run_is_the_same_run_at_wandb(plain, tmp_path, monkeypatch):
    at_step(monkeypatch, 20, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted):
        train(quick(*OFFLINE), tmp_path / "run", quiet())
    monkeypatch.undo()
    identity = json.loads((tmp_path / "run" / "wandb.json").read_text())["id"]
    run = resume(tmp_path / "run", quiet())
    assert json.loads(run.wandb.read_text())["id"] == identity
    assert records(run) == records(plain)
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    assert file.stem == f"run-{identity}"
    assert len(list(run.path.glob(f"wandb/superseded-run-*-{identity}"))) == 1
    steps = steps_of(file)
    assert steps == sorted(set(steps))
    assert set(steps) == {record["step"] for record in records(run)}


def test_a_run_that_was_uploaded_in_part_goes_on_as_another(tmp_path, monkeypatch, caplog):
    at_step(monkeypatch, 20, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted):
        train(quick(*OFFLINE), tmp_path / "run", quiet())
    monkeypatch.undo()
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    Path(f"{file}.synced").touch()  # the mark of `wandb sync`
    run = resume(tmp_path / "run", quiet())
    assert "goes on as a new run" in caplog.text
    identity = json.loads(run.wandb.read_text())["id"]
    assert identity not in file.stem
    assert file.is_file()
    (other,) = run.path.glob(f"wandb/offline-run-*/run-{identity}.wandb")
    assert set(steps_of(other)) == {record["step"] for record in records(run)}


def steps_of(file):
    """Steps in an offline run, by the library's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = map(json.loads, output.splitlines())
    return [row["history"]["item"]["_step"] for row in rows if row["type"] == "history"]


def test_what_was_chosen_on_the_test_classes_is_tagged(tmp_path):
    run = train(quick(*OFFLINE, "--select", "test"), tmp_path / "run", quiet())
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (opened,) = [row["run"] for row in map(json.loads, output.splitlines()) if row["type"] == "run"]
    assert opened["tags"] == ["select=test"]
    assert opened["config"]["update"]["select"] == "test"

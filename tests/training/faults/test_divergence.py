"""Numbers that are no longer finite stop a training, or send it back to its last checkpoint."""

import json
import math
import os
import signal
from types import SimpleNamespace

import pytest
import torch

from ibc_pyg.errors import RunError
from ibc_pyg.runs.checkpoint import list_checkpoints, load_checkpoint
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training import run as train_module
from ibc_pyg.training.faults.divergence import DivergenceError, DivergenceMonitor
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quick, quiet, records

RESTART = ("--train.on_divergence", "restart")


def poison(monkeypatch, at, *, what="loss", above=0.0, stop_at=None):
    """Let the loss, a gradient or a weight be NaN at a place (epoch, step) of the training.

    Args:
        above: Only where the learning rate is larger.
        stop_at: Place at which Ctrl-C is pressed.
    """
    step = fit_module.train_step

    def poisoned(experiment, batch):
        place = (experiment.sampler.epoch, experiment.sampler.step)
        if place == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        if place != at or experiment.optimizer.param_groups[0]["lr"] <= above:
            return step(experiment, batch)
        weight = next(experiment.model.backbone.parameters())
        if what == "gradient":
            hook = weight.register_hook(lambda gradient: gradient * float("inf"))
            values = step(experiment, batch)
            hook.remove()
            return values
        values = step(experiment, batch)
        with torch.no_grad():
            weight.view(-1)[0] = float("nan")
        bad = torch.tensor(float("nan"))
        return values | ({"train/loss": bad} if what == "loss" else {})

    monkeypatch.setattr(fit_module, "train_step", poisoned)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_run_that_diverges_says_where_and_with_what(tmp_path, monkeypatch, what):
    poison(monkeypatch, (1, 5), what=what)
    found = {"loss": "the loss is nan", "gradient": r"the norm of the gradient is (nan|inf)"}[what]
    with pytest.raises(RunError, match=rf"{found} at step 34 .*step-00000029; lower train\.lr"):
        train(quick(), tmp_path / "run", quiet())
    run = RunFolder(tmp_path / "run")
    record = json.loads(run.divergence.read_text())
    assert (record["step"], record["lr"]) == (34, 0.01)
    assert len(record["files"]) == len(record["labels"]) == 32
    assert len(set(record["labels"])) == 4
    assert record["last_good_checkpoint"] == str(list_checkpoints(run.checkpoints)[-1])
    assert record["values"].keys() >= {"train/loss", "train/loss_nodes", "train/grad_norm"}
    assert {"grad_norm/backbone", "grad_norm/mpn", "grad_norm/heads"} <= set(record["grad_norms"])
    if what == "gradient":
        assert record["grad_norms"]["grad_norm/backbone"] in ("inf", "nan")
        assert math.isfinite(record["grad_norms"]["grad_norm/heads"])


def test_the_files_are_those_of_the_step_that_was_bad(tmp_path, monkeypatch):
    seen = []
    step = fit_module.train_step

    def listening(experiment, batch):
        table = experiment.data.train_table
        seen.append([table.paths[row] for row in batch.rows.tolist()])
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", listening)
    poison(monkeypatch, (0, 7))
    # As on a GPU: the numbers are looked at later, all at once.
    monkeypatch.setattr(fit_module, "checks_each_step", lambda experiment: False)
    with pytest.raises(RunError, match=r"at step 7 .*checkpoint: none;"):
        train(quick("--track.every", "10"), tmp_path, quiet())
    record = json.loads(RunFolder(tmp_path).divergence.read_text())
    assert record["files"] == seen[6]
    assert record["grad_norms"] == {}


def test_a_weight_that_is_not_finite_is_never_saved(tmp_path, monkeypatch):
    """The loss of the epoch's last step was still good."""
    poison(monkeypatch, (1, 29), what="weight")
    with pytest.raises(RunError, match=r"a weight is not finite at step 58 .*step-00000029"):
        train(quick(), tmp_path, quiet())
    run = RunFolder(tmp_path)
    for path in list_checkpoints(run.checkpoints):
        _, state = load_checkpoint(path)
        assert all(value.isfinite().all() for value in state["model"].values())


def test_ctrl_c_saves_no_weight_that_is_not_finite(tmp_path, monkeypatch):
    poison(monkeypatch, (1, 5), what="weight", stop_at=(1, 5))
    with pytest.raises(RunError, match="a weight is not finite at step 34"):
        train(quick(), tmp_path, quiet())
    assert len(list_checkpoints(RunFolder(tmp_path).checkpoints)) == 1


def test_a_restart_goes_back_with_half_the_learning_rate(tmp_path, monkeypatch):
    poison(monkeypatch, (1, 5), above=0.006)
    run = train(quick(*RESTART), tmp_path / "run", quiet())
    history = records(run)
    steps = [record["step"] for record in history]
    assert steps == sorted(steps)
    (note,) = [record for record in history if "train/restarts" in record]
    assert note == {
        "step": 29, "train/restarts": 1, "train/lr_scale": 0.5, "train/diverged_at": 34
    }  # fmt: skip
    rates = {record["step"]: record["train/lr"] for record in history if "train/lr" in record}
    assert [rates[step] for step in (29, 30, 34, 58, 59)] == [0.01, 0.005, 0.005, 0.005, 0.0005]
    assert all(None not in record.values() for record in history)
    assert run.summary.is_file()


@pytest.mark.parametrize("stop_at", [(0, 20), (1, 20)])
def test_a_run_with_restarts_resumes_exactly(tmp_path, monkeypatch, stop_at):
    """Cut before the restart, which then comes as it would have come, and after it."""
    with monkeypatch.context() as whole:
        poison(whole, (1, 5), above=0.006)
        run = train(quick(*RESTART), tmp_path / "run", quiet())
    with monkeypatch.context() as stopped:
        poison(stopped, (1, 5), above=0.006, stop_at=stop_at)
        with pytest.raises(TrainingInterrupted):
            train(quick(*RESTART), tmp_path / "cut", quiet())
    poison(monkeypatch, (1, 5), above=0.006)
    cut = resume(tmp_path / "cut", quiet())
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)


def test_without_a_checkpoint_a_restart_goes_to_the_beginning(tmp_path, monkeypatch):
    poison(monkeypatch, (0, 3), above=0.006)
    run = train(quick(*RESTART), tmp_path / "restarted", quiet())
    lower = train(quick("--train.lr", "0.005"), tmp_path / "lower", quiet())
    assert run.weights.read_bytes() == lower.weights.read_bytes()


def test_a_run_that_was_stopped_by_a_divergence_goes_on_with_restarts(tmp_path, monkeypatch):
    poison(monkeypatch, (1, 5), above=0.006)
    with pytest.raises(RunError, match="the loss is nan"):
        train(quick(), tmp_path / "stopped", quiet())
    run = resume(tmp_path / "stopped", quiet(), quick(*RESTART))
    same = train(quick(*RESTART), tmp_path / "restarted", quiet())
    assert run.weights.read_bytes() == same.weights.read_bytes()
    assert records(run) == records(same)


def test_a_divergence_is_told_although_no_checkpoint_is_whole(tmp_path, monkeypatch):
    poison(monkeypatch, (1, 5))
    step = fit_module.train_step

    def damaging(experiment, batch):
        for path in list_checkpoints(RunFolder(tmp_path).checkpoints):
            (path / "state.json").write_text("{")
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", damaging)
    with pytest.raises(RunError, match=r"the loss is nan .* checkpoint: none;"):
        train(quick(*RESTART), tmp_path, quiet())
    assert RunFolder(tmp_path).divergence.is_file()


def test_restarts_come_to_an_end(tmp_path):
    options = ("--train.lr", "1e30", *RESTART, "--train.max_restarts", "2")
    with pytest.raises(RunError, match=r"after 2 restarts.*step-00000000.*or more train\.max"):
        train(quick(*options), tmp_path, quiet())


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(RunError, match=r"is (-?inf|nan|not finite) at step \d+ .*train\.lr"):
        train(quick("--train.lr", "1e30"), tmp_path / "diverged", quiet())


class Scaling:
    """A precision that scales 16-bit gradients, which a CPU has not."""

    def __init__(self, scale):
        self.scaler = SimpleNamespace(get_scale=lambda: scale)


@pytest.mark.parametrize(("scale", "good"), [(65536.0, True), (2.0**-15, False)])
def test_sixteen_bit_gradients_may_be_infinite_while_their_scale_is_found(scale, good):
    strategy = SimpleNamespace(precision=Scaling(scale))
    monitor = DivergenceMonitor(SimpleNamespace(strategy=strategy, world_size=1, device="cpu"))
    batch = SimpleNamespace(rows=torch.arange(2), labels=torch.arange(2))
    monitor.observe(1, 0.1, {"train/loss": torch.tensor(2.0)}, batch)
    if good:
        assert monitor.check() == {"train/loss": 2.0}
    else:
        with pytest.raises(DivergenceError, match="the gradient is not finite"):
            monitor.check()


def test_descriptors_that_are_not_finite_are_not_scored(tmp_path, monkeypatch):
    """The weights are finite, but what they make of unseen images is not."""
    described = train_module.extract_split

    def overflowing(*arguments, **options):
        found = described(*arguments, **options)
        found.queries.vectors[0] = float("inf")
        return found

    monkeypatch.setattr(train_module, "extract_split", overflowing)
    options = ("--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "0")
    with pytest.raises(RunError, match=r"descriptors of .*model\.safetensors are not finite"):
        train(quick(*options), tmp_path, quiet())

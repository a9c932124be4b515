"""The second pass: all training classes, for the number of epochs that held-out ones chose."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from ibc_pyg.errors import ConfigError
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import digits, quick, quiet, records

VAL = ("--select", "val", "--data.val_classes", "0.4", "--data.classes_per_batch", "3")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = digits(*VAL, "--retrain", "true")
    return train(config, tmp_path_factory.mktemp("runs") / "whole", quiet())


def test_all_training_classes_are_trained_on_for_the_chosen_epochs(run, tmp_path):
    summary = run.read_summary()
    assert summary["retrained"] is True
    assert summary["select"] == "val"
    assert len(load_file(run.weights)["auxiliary_head.linear.bias"]) == 5
    # The same as a run of so many epochs that holds nothing out.
    last = quick("--data.classes_per_batch", "3", "--train.epochs", str(summary["epoch"]))
    plain = train(last, tmp_path / "plain", quiet())
    ours, theirs = load_file(run.weights), load_file(plain.weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_history_goes_on_and_nothing_is_evaluated_in_the_second_pass(run):
    history = records(run)
    steps = [record["step"] for record in history]
    assert steps == sorted(steps)
    begin = next(i for i, record in enumerate(history) if "retrain/epochs" in record)
    assert history[begin]["retrain/epochs"] == run.read_summary()["epoch"]
    second = history[begin + 1 :]
    assert all("train/loss" in record for record in second)
    assert second[0]["train/lr"] == 0.01
    assert not any(name.startswith(("val/", "test/")) for record in second for name in record)
    assert not any("test/R@1" in record for record in history)


def test_the_report_and_the_console_say_so(run):
    page = run.report.read_text()
    assert "retrained on all training classes" in page
    assert len(Embedder.of(load_run(run.path)).class_names) == 5


@pytest.mark.parametrize("stop_at", [10, -3])
def test_both_passes_resume_exactly(run, tmp_path, monkeypatch, stop_at):
    total = sum("train/loss" in record for record in records(run))
    step, taken = fit_module.train_step, []

    def interrupted(experiment, batch):
        taken.append(1)
        if len(taken) == stop_at % total:
            os.kill(os.getpid(), signal.SIGINT)
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", interrupted)
    with pytest.raises(TrainingInterrupted):
        train(quick(*VAL, "--retrain", "true"), tmp_path / "cut", quiet())
    monkeypatch.undo()
    cut = resume(tmp_path / "cut", quiet())
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)
    assert cut.read_summary()["epoch"] == run.read_summary()["epoch"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--select", "last"), "retrain needs select = val"),
        (("--select", "test"), "retrain needs select = val"),
        ((*VAL, "--train.reload_best_at", "[2]"), "reload_best_at"),
    ],
)
def test_what_does_not_fit_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        digits(*options, "--retrain", "true")


def test_a_divergence_of_the_first_pass_does_not_slow_the_second(tmp_path, monkeypatch):
    step, bad = fit_module.train_step, []

    def poisoned(experiment, batch):
        values = step(experiment, batch)
        if not bad and experiment.sampler.epoch == 1:
            bad.append(1)
            return values | {"train/loss": torch.tensor(float("nan"))}
        return values

    monkeypatch.setattr(fit_module, "train_step", poisoned)
    options = ("--retrain", "true", "--train.on_divergence", "restart")
    run = train(quick(*VAL, *options), tmp_path / "run", quiet())
    history = records(run)
    begin = next(i for i, record in enumerate(history) if "retrain/epochs" in record)
    assert any(record.get("train/lr_scale") == 0.5 for record in history[:begin])
    assert history[begin - 2]["train/lr"] < 0.01
    assert history[begin + 1]["train/lr"] == 0.01

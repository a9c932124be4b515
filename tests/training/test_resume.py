"""Runs that were cut go on as if they had not been; what cannot go on says so in one line."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from ibc_pyg.builders.optimization import optimizer
from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import (
    config_from_yaml,
    config_to_dict,
    config_to_yaml,
    parse_config,
)
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.errors import RunError
from ibc_pyg.runs.checkpoint import load_newest
from ibc_pyg.runs.resume import first_difference
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.track import MultiTracker
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training import run as train_module
from ibc_pyg.training import selection
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import resume, train
from ibc_pyg.training.snapshot import restore_state
from ibc_pyg.training.training import Training
from tests.helpers.digits_run import digits, quick, quiet, records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(digits(), tmp_path_factory.mktemp("runs") / "whole", quiet())


@pytest.fixture(scope="module")
def cut(run, tmp_path_factory):
    """The run as it was before its summary and its last checkpoint were written."""
    path = tmp_path_factory.mktemp("runs") / "cut"
    shutil.copytree(run.path, path)
    for left in ("summary.json", "report.html"):
        (path / left).unlink()
    shutil.rmtree(max(path.glob("checkpoints/step-*")))
    return path


def copy(path, tmp_path):
    return Path(shutil.copytree(path, tmp_path / "copy"))


def test_a_checkpoint_of_a_gpu_goes_on_with_the_kernels_of_this_device(tmp_path, monkeypatch):
    config = quick(
        "--train.optimizer", "AdamW", "--train.epochs", "1", "--train.lr_milestones", "[]"
    )
    monkeypatch.setattr(optimizer, "_fused", lambda config, device: {"fused": True})
    cut = train(config, tmp_path / "cut", quiet())
    found = load_newest(cut.checkpoints)
    assert [group["fused"] for group in found[1]["optimizer"]["param_groups"]] == [True, True]
    monkeypatch.undo()
    experiment = setup(config)
    training = Training(experiment, cut, MultiTracker([]), quiet())
    restore_state(training, found)
    assert [group["fused"] for group in experiment.optimizer.param_groups] == [None, None]
    for each in experiment.optimizer.state.values():
        assert int(each["step"]) == training.progress.step


@pytest.mark.parametrize("stop_at", [3, 29, 40])
def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(
    run, tmp_path, monkeypatch, stop_at
):
    """Ctrl-C in the middle of an epoch, at its last step, and in a later one."""
    taken = 0
    step = fit_module.train_step

    def interrupted(experiment, batch):
        nonlocal taken
        taken += 1
        if taken == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", interrupted)
    console = quiet()
    with pytest.raises(TrainingInterrupted):
        train(quick(), tmp_path / "cut", console)
    said = console.file.getvalue()
    assert f"train --resume {tmp_path / 'cut'}" in said.replace("\n", "")
    monkeypatch.undo()
    cut = RunFolder.open(tmp_path / "cut")
    assert not cut.summary.exists()
    resume(cut.path, quiet())
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)


def test_ctrl_c_while_evaluating_for_the_last_time(run, tmp_path, monkeypatch):
    scored = selection.score_retrieval
    epochs = []

    def interrupted(*arguments, **options):
        epochs.append(len(epochs))
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return scored(*arguments, **options)

    monkeypatch.setattr(selection, "score_retrieval", interrupted)
    with pytest.raises(TrainingInterrupted):
        train(quick(), tmp_path / "cut", quiet())
    monkeypatch.undo()
    resume(tmp_path / "cut", quiet())
    cut = RunFolder.open(tmp_path / "cut")
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)


def test_ctrl_c_before_the_first_checkpoint(tmp_path, monkeypatch):
    def interrupted(experiment, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "train_step", interrupted)
    console = quiet()
    with pytest.raises(TrainingInterrupted):
        train(quick(), tmp_path / "cut", console)
    assert "start again" in console.file.getvalue()


def test_ctrl_c_while_the_report_is_written(tmp_path, monkeypatch):
    def interrupted(trained):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "make_report", interrupted)
    with pytest.raises(TrainingInterrupted):
        train(digits("--train.epochs", "1", "--train.lr_milestones", "[]"), tmp_path, quiet())
    monkeypatch.undo()
    assert not RunFolder.open(tmp_path).report.exists()
    assert resume(tmp_path, quiet()).report.is_file()


def test_the_training_time_counts_every_sitting(tmp_path):
    short = ("--train.epochs", "1", "--train.lr_milestones", "[]")
    cut = train(digits(*short), tmp_path, quiet())
    seconds = cut.read_summary()["train_seconds"]
    cut.summary.unlink()
    assert resume(tmp_path, quiet()).read_summary()["train_seconds"] >= seconds


def test_a_training_without_a_checkpoint_is_started_again_and_an_import_is_kept(tmp_path):
    text = config_to_yaml(digits())
    cut = RunFolder.create(tmp_path / "cut", config_yaml=text)
    for file in (cut.weights, cut.metrics, cut.wandb):
        file.write_bytes(b"")
    RunFolder.create(cut.path, config_yaml=text)
    assert not cut.weights.exists()
    assert not cut.wandb.exists()
    imported = RunFolder.create(tmp_path / "imported", config_yaml=text)
    imported.weights.write_bytes(b"")
    with pytest.raises(RunError, match="already holds a run"):
        RunFolder.create(imported.path, config_yaml=text)


def test_a_checkpoint_of_another_architecture_is_refused_by_the_first_key(run, tmp_path):
    other = RunFolder.create(
        tmp_path / "other", config_yaml=config_to_yaml(digits("--model.embedding_dim", "16"))
    )
    shutil.copytree(run.checkpoints, other.checkpoints)
    with pytest.raises(RunError, match=r"made with model\.embedding_dim = 32, but .* says 16"):
        resume(other.path, quiet())
    experiment = setup(digits("--model.embedding_dim", "16"))
    checkpoint = load_newest(other.checkpoints)
    with pytest.raises(RunError, match=r"does not fit the model: .* is \[.*\], not \["):
        restore_state(Training(experiment, other, MultiTracker([]), quiet()), checkpoint)


def test_a_checkpoint_of_other_images_is_refused(run, tmp_path):
    experiment = setup(digits("--train.seed", "1"))
    training = Training(experiment, RunFolder(tmp_path), MultiTracker([]), quiet())
    with pytest.raises(RunError, match="other training images"):
        restore_state(training, load_newest(run.checkpoints))


def test_an_edited_configuration_is_noticed_unless_it_says_only_where(cut, tmp_path):
    path = copy(cut, tmp_path)
    text = path.joinpath("config.yaml").read_text()
    path.joinpath("config.yaml").write_text(text.replace("lr: 0.01", "lr: 0.02"))
    with pytest.raises(RunError, match=r"made with train\.lr = 0\.01, but .* says 0\.02"):
        resume(path, quiet())
    path.joinpath("config.yaml").write_text(text.replace("workers: null", "workers: 0"))
    assert resume(path, quiet()).summary.is_file()


def test_what_cannot_be_resumed_is_one_line(run, cut, tmp_path, capsys):
    damaged = copy(cut, tmp_path)
    for file in damaged.glob("checkpoints/*/state.json"):
        file.write_text("{")
    unreadable = tmp_path / "unreadable"
    unreadable.mkdir()
    (unreadable / "config.yaml").write_text("train: {lr: fast}\n")
    for path, says in (
        (tmp_path / "nowhere", "is not a folder"),
        (tmp_path, "is not a run folder: it has no config.yaml"),
        (unreadable, "config.yaml: "),
        (damaged, "has no intact checkpoint"),
    ):
        assert cli(["train", "--resume", str(path)]) == 2
        errors = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")
        ]
        assert len(errors) == 1
        assert says in errors[0]
    assert cli(["train", "--resume", str(run.path)]) == 0
    assert "is finished; nothing to resume" in capsys.readouterr().out


def test_the_experiment_may_be_named_again_and_must_be_the_same(run, cut, tmp_path, capsys):
    path, file = copy(cut, tmp_path), tmp_path / "experiment.yaml"
    file.write_text(config_to_yaml(digits()))
    assert cli(["train", str(file), "--resume", str(path), "--model.heads", "4"]) == 2
    error = capsys.readouterr().err
    assert "a run of another experiment, with model.heads = 2, not 4" in error
    assert error.count("\n") == 1
    # The reaction to a divergence does not change what is trained.
    wanted = ["--train.on_divergence", "restart"]
    assert cli(["train", str(file), "--resume", str(path), *wanted]) == 0
    again = RunFolder(path)
    assert again.weights.read_bytes() == run.weights.read_bytes()
    assert config_from_yaml(again.config).train.on_divergence == "restart"
    # A finished one is compared too.
    assert cli(["train", "--resume", str(path), "--train.lr", "1"]) == 2
    assert "train.lr = 0.01, not 1.0" in capsys.readouterr().err


def test_a_difference_within_a_field_is_told_by_its_place():
    terms = "[{name: FocalLoss, args: {gamma: 2}}, {name: CenterLoss, weight: 0.1}]"
    before = config_to_dict(quick("--loss.terms", terms))

    def found(now):
        return first_difference(before, config_to_dict(quick("--loss.terms", now)))

    assert found(terms) is None
    assert found(terms.replace("0.1", "0.2")) == ("loss.terms.1.weight", 0.1, 0.2)
    assert found(terms.replace("gamma: 2", "gamma: 3")) == ("loss.terms.0.args.gamma", 2, 3)
    name, one, other = found("[{name: FocalLoss}]")
    assert (name, len(one), len(other)) == ("loss.terms", 2, 1)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(run, tmp_path):
    started = RunFolder.create(tmp_path / "started", config_yaml=run.config.read_text())
    started.metrics.write_text('{"step": 1, "time": 0.0, "train/loss": 5.0}\n')
    (started.path / ".model.safetensors.abc").write_bytes(b"half")
    (started.checkpoints / ".step-00000028.partial").mkdir(parents=True)
    resume(started.path, quiet())
    assert started.weights.read_bytes() == run.weights.read_bytes()
    assert records(started) == records(run)
    assert not list(started.path.rglob(".*"))


class Killed(BaseException):
    """Ends a training where it is, as kill -9 does."""


def test_best_weights_belong_to_the_checkpoint_that_training_goes_on_from(tmp_path, monkeypatch):
    """The best weights are written again after the checkpoint, and reloaded before that step."""
    options = ("--select", "test", "--train.epochs", "5", "--train.reload_best_at", "[3]",
               "--train.checkpoint_every", "2", "--train.evaluate_every", "2")  # fmt: skip
    save = selection.save_weights

    def killed(training):
        save(training)
        if training.experiment.sampler.epoch == 4:
            raise Killed

    best_at_each = {"R@1": iter([0.5, 0.6, 0.4])}
    monkeypatch.setattr(selection, "save_weights", killed)
    scored = selection.score_retrieval

    def rising(*arguments, **options):
        return scored(*arguments, **options) | {"R@1": next(best_at_each["R@1"])}

    monkeypatch.setattr(selection, "score_retrieval", rising)
    with pytest.raises(Killed):
        train(quick(*options), tmp_path / "cut", quiet())
    monkeypatch.setattr(selection, "save_weights", save)
    best_at_each["R@1"] = iter([0.6, 0.4])
    cut = resume(tmp_path / "cut", quiet())
    best_at_each["R@1"] = iter([0.5, 0.6, 0.4])
    again = train(quick(*options), tmp_path / "again", quiet())
    assert cut.weights.read_bytes() == again.weights.read_bytes()
    assert records(cut) == records(again)


def test_an_evaluation_that_follows_its_checkpoint_is_recorded_once(run, tmp_path, monkeypatch):
    """Ctrl-C at the last step of an epoch, then a kill behind the evaluation of that step."""
    whole = len(records(run)) // 3
    step, taken = fit_module.train_step, []

    def interrupted(experiment, batch):
        taken.append(1)
        if len(taken) == whole - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(experiment, batch)

    monkeypatch.setattr(fit_module, "train_step", interrupted)
    with pytest.raises(TrainingInterrupted):
        train(quick(), tmp_path / "cut", quiet())

    def killed(*arguments, **options):
        raise Killed

    monkeypatch.setattr(fit_module, "train_step", step)
    monkeypatch.setattr(fit_module, "save_state", killed)
    with pytest.raises(Killed):
        resume(tmp_path / "cut", quiet())
    monkeypatch.undo()
    assert records(resume(tmp_path / "cut", quiet())) == records(run)


def test_images_skipped_before_the_cut_are_listed_after_it(tmp_path, monkeypatch):
    make_sample("folder", tmp_path / "pictures")
    table = load_table("folder", tmp_path / "pictures")
    broken = table.paths[table.where(Role.TRAIN)[0]]
    os.truncate(tmp_path / "pictures" / broken, 300)
    sample = Path(__file__).resolve().parents[2] / "experiments" / "sample.yaml"
    config = parse_config(
        sample,
        ["--data.root", str(tmp_path / "pictures"), "--data.workers", "0", "--select", "last",
         "--data.on_error", "skip", "--train.epochs", "2", "--train.lr_milestones", "[]"],
    )  # fmt: skip
    saved = fit_module.save_state

    def killed(training):
        saved(training)
        raise Killed

    monkeypatch.setattr(fit_module, "save_state", killed)
    with pytest.raises(Killed):
        train(config, tmp_path / "cut", quiet())
    monkeypatch.undo()
    # It can be read again, and is not skipped a second time.
    make_sample("folder", tmp_path / "again")
    shutil.copy(tmp_path / "again" / broken, tmp_path / "pictures" / broken)
    run = resume(tmp_path / "cut", quiet())
    assert list(json.loads(run.skipped.read_text())) == [broken]


def test_a_finished_run_is_left_alone(run, tmp_path):
    before = run.weights.stat().st_mtime_ns
    resume(run.path, quiet())
    assert run.weights.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="already holds a run"):
        train(digits(), run.path, quiet())

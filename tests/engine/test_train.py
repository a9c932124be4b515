"""A whole run on scikit-learn's digits: what the folder holds, sameness, resuming, selection."""

import io
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from ibc_pyg.config_file import config_from_yaml, config_to_yaml, parse_config
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.engine import fit as fit_module
from ibc_pyg.engine import train as train_module
from ibc_pyg.engine.checkpoint import list_checkpoints
from ibc_pyg.engine.evaluate import score
from ibc_pyg.engine.fit import Interrupted
from ibc_pyg.engine.load import load_run
from ibc_pyg.engine.run_folder import RunFolder
from ibc_pyg.engine.searching import export_image, search
from ibc_pyg.engine.train import resume, train
from ibc_pyg.errors import DatasetError, RunError

OPTIONS = [
    "--data.name", "digits", "--data.classes_per_batch", "4", "--data.images_per_class", "8",
    "--data.transform", "glyphs", "--data.transform_args", "{image_size: 8}",
    "--model.backbone_args", "{width: 8}", "--model.embedding_dim", "32", "--model.heads", "2",
    "--train.epochs", "3", "--train.lr", "0.01", "--train.lr_milestones", "[2]",
    "--select", "last",
]  # fmt: skip


def digits(*more):
    return parse_config(None, [*OPTIONS, *more])


def quiet():
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(digits(), tmp_path_factory.mktemp("runs") / "whole", quiet())


def records(run):
    """The history without what a clock says."""
    timed = ("time", "train/images_per_s")
    return [
        {name: value for name, value in record.items() if name not in timed}
        for record in run.read_history()
    ]


def test_the_folder_is_complete(run):
    for file in (run.config, run.environment, run.metrics, run.summary, run.weights, run.report):
        assert file.is_file(), file
    assert len(list_checkpoints(run.checkpoints)) == 2
    assert not list(run.path.rglob("*.pt")) + list(run.path.rglob("*.pkl"))
    made = json.loads(run.environment.read_text())
    assert made["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert made["git_commit"] is None or len(made["git_commit"]) >= 40


def test_the_summary_is_made_of_fractions(run):
    summary = run.read_summary()
    for name in ("R@1", "R@2", "R@4", "R@8", "MAP@R", "RP", "NMI", "AMI"):
        assert 0 <= summary[name] <= 1, name
    assert summary["R@1"] <= summary["R@2"] <= summary["R@4"] <= summary["R@8"]
    # Five unseen classes: chance is 0.2.
    assert summary["R@1"] > 0.4


def test_the_history_has_steps_and_evaluations(run):
    history = records(run)
    steps = [record["step"] for record in history]
    assert steps == sorted(steps)
    assert sum("test/R@1" in record for record in history) == 3
    rates = sorted({record["train/lr"] for record in history if "train/lr" in record})
    assert rates == pytest.approx([0.001, 0.01])


def test_the_config_says_everything(run):
    assert config_from_yaml(run.config) == digits()


def test_the_weights_give_the_summary_again(run):
    trained = load_run(run.path)
    again = score(trained.described(fresh=True), trained.config.evaluate, seed=0)
    summary = run.read_summary()
    assert all(again[name] == summary[name] for name in ("R@1", "MAP@R", "RP", "NMI"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run, tmp_path):
    same = train(digits(), tmp_path / "same", quiet())
    other = train(digits("--train.seed", "1"), tmp_path / "other", quiet())
    assert same.weights.read_bytes() == run.weights.read_bytes()
    assert records(same) == records(run)
    assert other.weights.read_bytes() != run.weights.read_bytes()


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
    with pytest.raises(Interrupted):
        train(digits(), tmp_path / "cut", console)
    said = console.file.getvalue()
    assert f"train --resume {tmp_path / 'cut'}" in said.replace("\n", "")
    monkeypatch.undo()
    cut = RunFolder.open(tmp_path / "cut")
    assert not cut.summary.exists()
    resume(cut.path, quiet())
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)


def test_ctrl_c_while_evaluating_for_the_last_time(run, tmp_path, monkeypatch):
    scored = fit_module.score_retrieval
    epochs = []

    def interrupted(*arguments):
        epochs.append(len(epochs))
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return scored(*arguments)

    monkeypatch.setattr(fit_module, "score_retrieval", interrupted)
    with pytest.raises(Interrupted):
        train(digits(), tmp_path / "cut", quiet())
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
    with pytest.raises(Interrupted):
        train(digits(), tmp_path / "cut", console)
    assert "start it again" in console.file.getvalue()


def test_ctrl_c_while_the_report_is_written(tmp_path, monkeypatch):
    def interrupted(trained):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "make_report", interrupted)
    with pytest.raises(Interrupted):
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


def test_damaged_records_of_a_run_are_one_line(run, tmp_path):
    damaged = RunFolder.create(tmp_path / "damaged", config_yaml=run.config.read_text())
    damaged.summary.write_text("{}")
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        resume(damaged.path, quiet())
    for content in (b"5\n", b"\xff\n", b"[]\n"):
        damaged.metrics.write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.jsonl"):
            damaged.read_history()


def test_a_checkpoint_of_another_model_is_refused_by_the_first_key(run, tmp_path):
    other = RunFolder.create(
        tmp_path / "other", config_yaml=config_to_yaml(digits("--model.embedding_dim", "16"))
    )
    shutil.copytree(run.checkpoints, other.checkpoints)
    with pytest.raises(RunError, match=r"does not fit the model: .* is \[.*\], not \["):
        resume(other.path, quiet())


def test_a_finished_run_is_left_alone(run, tmp_path):
    before = run.weights.stat().st_mtime_ns
    resume(run.path, quiet())
    assert run.weights.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="already holds a run"):
        train(digits(), run.path, quiet())


def test_select_val_keeps_the_best_epoch_on_held_out_classes(tmp_path):
    config = digits("--select", "val", "--data.val_classes", "0.4", "--train.evaluate_every", "1",
                    "--data.classes_per_batch", "3")  # fmt: skip
    run = train(config, tmp_path / "val", quiet())
    curve = {r["epoch"]: r["val/R@1"] for r in records(run) if "val/R@1" in r}
    summary = run.read_summary()
    assert curve[summary["epoch"]] == max(curve.values())
    assert not any("test/R@1" in record for record in records(run))
    assert len(load_file(run.weights)["auxiliary_head.linear.bias"]) == 3


def test_refined_metrics_stand_in_the_summary(tmp_path):
    run = train(digits("--evaluate.refine", "knn", "--train.epochs", "1",
                       "--train.lr_milestones", "[]"), tmp_path / "refined", quiet())  # fmt: skip
    summary = run.read_summary()
    assert 0 < summary["refined"]["R@1"] <= 1
    assert summary["refined"]["R@1"] != summary["R@1"]


def test_without_message_passing(tmp_path):
    run = train(digits("--model.steps", "0", "--train.epochs", "1",
                       "--train.lr_milestones", "[]"), tmp_path / "ce", quiet())  # fmt: skip
    names = load_file(run.weights)
    assert not any(name.startswith(("mpn", "node_heads")) for name in names)
    assert all("train/loss_nodes" not in record for record in records(run))
    assert "no message-passing step" in run.report.read_text()


def test_broken_pictures_stop_the_run_or_are_listed(tmp_path):
    make_sample("folder", tmp_path / "pictures")
    parse = ["--data.root", str(tmp_path / "pictures"), "--data.workers", "0"]
    sample = Path(__file__).resolve().parents[2] / "experiments" / "sample.yaml"
    table = load_table("folder", tmp_path / "pictures")
    broken = [table.paths[table.where(role)[0]] for role in (Role.TRAIN, Role.TEST)]
    for name in broken:
        os.truncate(tmp_path / "pictures" / name, 300)
    with pytest.raises(DatasetError, match=re.escape(Path(broken[0]).name)):
        train(parse_config(sample, parse), tmp_path / "stop", quiet())
    run = train(
        parse_config(sample, [*parse, "--data.on_error", "skip"]), tmp_path / "skip", quiet()
    )
    assert json.loads(run.skipped.read_text()).keys() == set(broken)
    assert run.read_summary()["queries"] == len(table.where(Role.TEST)) - 1


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(RunError, match=r"the loss is (nan|inf) at step \d+ .*train\.lr"):
        train(digits("--train.lr", "1e30"), tmp_path / "diverged", quiet())


def test_a_test_image_finds_itself_first(run):
    trained = load_run(run.path)
    row = int(trained.data.splits.test.queries[7])
    hits = search(trained, export_image(trained, row), 3)
    assert hits[0].path == trained.data.table.paths[row]
    # The picture went through an 8-bit PNG of the same pixels: the same descriptor.
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].similarity >= hits[1].similarity >= hits[2].similarity


def test_a_picture_that_cannot_be_read_is_not_searched_with(run, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(RunError, match=r"notes\.png: .*; search with another picture$"):
        search(load_run(run.path), tmp_path / "notes.png", 3)


def test_weights_of_another_model_are_refused_by_the_first_key(run, tmp_path):
    from safetensors.torch import save_file

    weights = load_file(run.weights)
    name = next(iter(weights))
    for number, (changed, says) in enumerate(
        [
            ({k: v for k, v in weights.items() if k != name}, f"{name} is missing"),
            ({**weights, "extra": torch.zeros(1)}, "it has extra"),
            ({**weights, name: torch.zeros(3, 3)}, name),
        ]
    ):
        folder = RunFolder.create(tmp_path / str(number), config_yaml=run.config.read_text())
        save_file(changed, folder.weights)
        with pytest.raises(RunError, match=says):
            load_run(folder.path)

"""A whole run on scikit-learn's digits: what the folder holds, sameness, selection."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ibc_pyg.config.files.yaml_file import config_from_yaml, parse_config
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.table import Role
from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.evaluation.scores import score
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.retrieval.search import search
from ibc_pyg.runs.checkpoint import list_checkpoints
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import digits, quiet, records


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(digits(), tmp_path_factory.mktemp("runs") / "whole", quiet())


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
    again = score(EvalSet(trained).extract(), trained.config.evaluate, seed=0)
    summary = run.read_summary()
    assert all(again[name] == summary[name] for name in ("R@1", "MAP@R", "RP", "NMI"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run, tmp_path):
    same = train(digits(), tmp_path / "same", quiet())
    other = train(digits("--train.seed", "1"), tmp_path / "other", quiet())
    assert same.weights.read_bytes() == run.weights.read_bytes()
    assert records(same) == records(run)
    assert other.weights.read_bytes() != run.weights.read_bytes()


def test_damaged_records_of_a_run_are_one_line(run, tmp_path):
    damaged = RunFolder.create(tmp_path / "damaged", config_yaml=run.config.read_text())
    damaged.summary.write_text("{}")
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        resume(damaged.path, quiet())
    for content in (b"5\n", b"\xff\n", b"[]\n"):
        damaged.metrics.write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.jsonl"):
            damaged.read_history()


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
    run = train(digits("--evaluate.refine", "mpn", "--train.epochs", "1",
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


def test_a_test_image_finds_itself_first(run):
    trained = load_run(run.path)
    images = EvalSet(trained)
    row = int(images.splits.test.queries[7])
    hits = search(trained, images.picture_file(row), 3)
    assert hits[0].path == images.table.paths[row]
    # The picture went through an 8-bit PNG of the same pixels: the same descriptor.
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].similarity >= hits[1].similarity >= hits[2].similarity


def test_a_picture_that_cannot_be_read_is_not_searched_with(run, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(RunError, match=r"notes\.png: .*; search with another picture$"):
        search(load_run(run.path), tmp_path / "notes.png", 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a GPU")
def test_a_run_of_a_gpu_is_used_without_one(run, tmp_path, caplog):
    copy = RunFolder(Path(shutil.copytree(run.path, tmp_path / "copy")))
    text = copy.config.read_text()
    copy.config.write_text(text.replace("device: cpu", "device: cuda:1"))
    assert text != copy.config.read_text()
    trained = load_run(copy.path)
    assert trained.fabric.device.type == "cpu"
    assert "cuda:1, which is unavailable" in caplog.text
    scores = score(EvalSet(trained).extract(), trained.config.evaluate, seed=0)
    assert scores["R@1"] == run.read_summary()["R@1"]


def test_weights_of_another_model_are_refused_by_the_first_key(run, tmp_path):
    from safetensors.torch import save_file

    weights = load_file(run.weights)
    name = next(iter(weights))
    for number, (changed, says) in enumerate(
        [
            ({k: v for k, v in weights.items() if k != name}, f"{name} is missing"),
            ({**weights, "extra": torch.zeros(1)}, "unexpected key extra"),
            ({**weights, name: torch.zeros(3, 3)}, name),
        ]
    ):
        folder = RunFolder.create(tmp_path / str(number), config_yaml=run.config.read_text())
        save_file(changed, folder.weights)
        with pytest.raises(RunError, match=says):
            load_run(folder.path)

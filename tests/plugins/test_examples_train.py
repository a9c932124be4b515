"""Each kind of code of the user, as in examples/plugins, is trained and evaluated."""

import json
import re

import pytest
import yaml
from safetensors.torch import load_file

from ibc_pyg import cli
from ibc_pyg.api import evaluate, load
from ibc_pyg.config.files.yaml_file import config_from_yaml
from ibc_pyg.config.plugged import plugged
from ibc_pyg.data.table import Role
from ibc_pyg.plugins import KINDS
from tests.helpers.plugs import EXAMPLES, SMALL

CASES = {
    "data set": ["--data.name", "dataset.py:Digits"],
    "table": ["--data.name", "dataset.py:digits_table", "--data.options", "{test_from: 6}"],
    "transform": ["--data.transform", "transform.py:Shifted",
                  "--data.transform_args", "{padding: 2}"],
    "sampler": ["--data.sampler", "sampler.py:balanced", "--data.sampler_args", "{steps: 3}"],
    "backbone": ["--model.backbone", "backbone.py:TwoLayers"],
    "graph layer": ["--model.conv", "graph_layer.py:MeanConv"],
    "graph": ["--model.graph", "graph.py:most_similar", "--model.graph_args", "{share: 0.4}"],
    "loss": ["--loss.terms", '[{"name": "loss.py:Proxies", "args": {"scale": 4}}]'],
    "miner": ["--loss.terms", '[{"name": "TripletMarginLoss", "miner": "miner.py:hardest"}]'],
    "loss and miner": ["--loss.terms", '[{"name": "loss.py:Proxies"}, {"name": '
                       '"TripletMarginLoss", "miner": "miner.py:hardest", '
                       '"miner_args": {"positives": 2}}]'],
    "optimiser": ["--train.optimizer", "optimizer.py:SignDescent",
                  "--train.optimizer_args", "{momentum: 0.5}"],
    "schedule": ["--train.schedule", "schedule.py:triangle",
                 "--train.schedule_args", "{peak: 0.5}"],
    "metric": ["--evaluate.metrics", "[metric.py:class_margin]"],
    "refiner": ["--evaluate.refine", "refiner.py:nearest"],
    "expansion": ["--evaluate.refine", "refiner.py:query_expansion"],
    "tracker": ["--track.trackers", "[tracker.py:CsvTracker]"],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a case once; return its run folder."""
    folder = tmp_path_factory.mktemp("runs")
    done = {}

    def train(case, monkeypatch):
        monkeypatch.chdir(EXAMPLES)
        if case not in done:
            experiment = folder / f"{case}.yaml"
            experiment.write_text("select: last\n")
            out = folder / case.replace(" ", "-")
            words = ["train", str(experiment), *SMALL, *CASES[case], "--out", str(out)]
            assert cli.run(words) == 0
            done[case] = out
        return done[case]

    return train


def history(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_kind_has_an_example():
    assert set(KINDS) <= set(CASES)
    named = re.findall(r"(\w+\.py):", str(CASES))
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(named)


@pytest.mark.parametrize("case", CASES)
def test_the_example_is_trained(case, trained, monkeypatch):
    run = trained(case, monkeypatch)
    summary = json.loads((run / "summary.json").read_text())
    assert 0.15 < summary["R@1"] <= 1
    assert history(run)[-1]["train/loss"] > 0
    kinds = {each.kind.name for each in plugged(config_from_yaml(run / "config.yaml"))}
    assert kinds == {case} & set(KINDS) or case not in KINDS


def test_a_finished_run_is_evaluated_with_its_code(trained, monkeypatch, capsys):
    run = trained("backbone", monkeypatch)
    capsys.readouterr()
    assert cli.run(["evaluate", str(run)]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert cli.run(["evaluate", str(run), "--trust-code"]) == 0
    monkeypatch.chdir(EXAMPLES)
    assert load(run, trust_code=True).dim == 16


def test_a_normalisation_of_the_user_is_not_guessed(trained, monkeypatch, tmp_path, capsys):
    run = trained("transform", monkeypatch)
    words = [str(run), "--trust-code"]
    for command in (
        ["export", *words, "--out", str(tmp_path / "m.onnx")],
        ["evaluate", *words, "--crops", "5"],
    ):
        capsys.readouterr()
        assert cli.run(command) == 2
        assert "derive it from ibc_pyg.data.transforms.Transform" in capsys.readouterr().err


def test_data_options_reach_the_code(trained, monkeypatch):
    for case, classes in (("table", 6), ("data set", 5)):
        split = json.loads((trained(case, monkeypatch) / "split.json").read_text())
        rows = zip(split["labels"], split["roles"], strict=True)
        assert {label for label, role in rows if role == Role.TRAIN} == set(range(classes))


def test_the_plan_has_three_steps(trained, monkeypatch):
    assert [record["step"] for record in history(trained("sampler", monkeypatch))] == [1, 2, 3]


def test_the_proxies_are_trained_by_the_optimiser(trained, monkeypatch):
    rates = history(trained("loss", monkeypatch))[-1]
    assert rates["lr/Proxies"] == pytest.approx(rates["lr/heads"])
    assert "train/loss_Proxies" in rates


def test_the_optimiser_takes_steps_of_one_length(trained, monkeypatch, tmp_path):
    run = trained("optimiser", monkeypatch)
    groups = {key for key in history(run)[-1] if key.startswith("lr/")}
    assert groups == {"lr/backbone", "lr/heads"}
    states = list(run.glob("checkpoints/*/tensors.safetensors"))
    assert any("mean" in key for key in load_file(states[-1]))


def test_the_schedule_rises_and_falls(trained, monkeypatch):
    rates = [record["train/lr"] for record in history(trained("schedule", monkeypatch))]
    top = rates.index(max(rates))
    assert 0 < top < len(rates) - 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_metric_is_in_summary_and_table(trained, monkeypatch, capsys):
    run = trained("metric", monkeypatch)
    margin = json.loads((run / "summary.json").read_text())["own/class_margin"]
    assert 0 < margin < 2
    capsys.readouterr()
    assert cli.run(["evaluate", str(run), "--trust-code"]) == 0
    assert "own/class_margin" in capsys.readouterr().out
    assert cli.run(["report", str(run), "--trust-code"]) == 0
    assert "own/class_margin" in (run / "report.html").read_text()


def test_the_metric_reaches_the_trackers(monkeypatch, tmp_path):
    monkeypatch.chdir(EXAMPLES)
    (tmp_path / "own.py").write_text(
        "class Own:\n"
        " def __init__(self, run_dir): self.file = run_dir / 'summary'\n"
        " def log(self, step, values): pass\n"
        " def summary(self, values): self.file.write_text(repr(values))\n"
    )
    (tmp_path / "e.yaml").write_text("select: last\n")
    words = ["train", str(tmp_path / "e.yaml"), *SMALL, *CASES["metric"]]
    words += ["--track.trackers", f"[{tmp_path / 'own.py'}:Own]", "--out", str(tmp_path / "run")]
    assert cli.run(words) == 0
    assert "own/class_margin" in (tmp_path / "run" / "summary").read_text()


def test_a_tracker_that_raises_does_not_stop_the_run(tmp_path, capsys):
    (tmp_path / "own.py").write_text("class Own:\n def log(self, step, values): 1 / 0\n")
    (tmp_path / "e.yaml").write_text("select: last\n")
    words = ["train", str(tmp_path / "e.yaml"), *SMALL, "--out", str(tmp_path / "run")]
    assert cli.run([*words, "--track.trackers", f"[{tmp_path / 'own.py'}:Own]"]) == 0
    said = capsys.readouterr().err
    assert said.count("own.py:Own") == 1
    assert "training continues: division by zero" in said


def test_neighbours_of_the_user_give_the_same_as_knn(trained, monkeypatch):
    run = trained("refiner", monkeypatch)
    refined = json.loads((run / "summary.json").read_text())["refined"]
    knn = evaluate(run, refine="mpn", trust_code=True)["refined"]
    assert refined["R@1"] == pytest.approx(knn["R@1"], abs=1e-3)
    assert refined["refine"] == "refiner.py:nearest"


def test_refined_descriptors_of_the_user_are_scored(trained, monkeypatch):
    summary = json.loads((trained("expansion", monkeypatch) / "summary.json").read_text())
    assert summary["refined"]["R@1"] != summary["R@1"]


def test_a_refiner_on_the_command_line_is_trusted(trained, monkeypatch, capsys):
    run = trained("tracker", monkeypatch)
    monkeypatch.chdir(EXAMPLES)
    assert cli.run(["evaluate", str(run), "--refine", "refiner.py:nearest"]) == 0
    assert "refiner.py:nearest" in capsys.readouterr().out


def test_the_tracker_writes_every_step_and_the_summary(trained, monkeypatch):
    run = trained("tracker", monkeypatch)
    lines = (run / "loss.csv").read_text().splitlines()
    recorded = [record for record in history(run) if "train/loss" in record]
    assert [int(line.partition(",")[0]) for line in lines[:-1]] == [r["step"] for r in recorded]
    assert lines[-1].startswith("R@1,0.")


def test_a_run_is_resumed_with_sampler_optimiser_and_schedule(trained, monkeypatch, tmp_path):
    """Interrupted after the first of two epochs, it ends with the weights of the whole run."""
    monkeypatch.chdir(EXAMPLES)
    experiment = tmp_path / "e.yaml"
    experiment.write_text(yaml.safe_dump({"select": "last"}))
    options = [
        *SMALL, *CASES["sampler"], *CASES["optimiser"], *CASES["schedule"], *CASES["loss"],
        "--train.epochs", "2",
    ]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cli.run(["train", str(experiment), *options, "--out", str(whole)]) == 0
    calls = []

    def stop_after_an_epoch(_self):
        calls.append(None)
        return len(calls) == 4  # the third step, then the end of the epoch

    with monkeypatch.context() as patch:
        patch.setattr("ibc_pyg.training.faults.interrupt.StopRequest.agreed", stop_after_an_epoch)
        assert cli.run(["train", str(experiment), *options, "--out", str(cut)]) == 130
    assert cli.run(["train", str(experiment), *options, "--resume", str(cut)]) == 0
    weights = [load_file(run / "model.safetensors") for run in (whole, cut)]
    assert all(weights[0][name].equal(value) for name, value in weights[1].items())

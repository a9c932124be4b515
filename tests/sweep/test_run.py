"""A sweep with runs that are made up: budgets, the choice, fresh seeds, going on, the table."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.jobs.pool import JobFailure
from ibc_pyg.sweep import run as search

SWEEP = {
    "method": "random",
    "metric": {"name": "val/R@1", "goal": "maximize"},
    "command": ["python", "run.py", "train", "BASE", "--data.val_classes=0.25", "${args}"],
    "parameters": {"train.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}},
}
BEST_LR = 1e-2


class Runs:
    """Stands in for training: the score of a run depends on its rate, its seed and its graph."""

    def __init__(self):
        self.order = []
        self.configs = {}
        self.fails = {}
        self.interrupt_after = None
        self.checked = {}

    def __call__(self, jobs, *, workers, threads, report, trust_code=False):
        failures = []
        for job in jobs:
            if job.finished:
                report(job, "done before")
                continue
            if self.interrupt_after is not None and len(self.order) >= self.interrupt_after:
                raise KeyboardInterrupt
            self.order.append(job.name)
            self.configs[job.name] = job.config
            if job.name in self.fails:
                failures.append(JobFailure(job, "the loss is nan", self.fails[job.name]))
                continue
            self.write(job)
            report(job, "finished")
        return failures

    @staticmethod
    def write(job):
        config = job.config
        score = 0.5 - abs(config.train.lr - BEST_LR) + 0.1 * config.model.steps
        score += 0.01 * config.train.seed
        if config.model.conv == "none":
            score -= 0.03
        job.path.mkdir(parents=True, exist_ok=True)
        (job.path / "config.yaml").write_text(config_to_yaml(config))
        lines = [{"step": 1, "time": 0, "val/R@1": 0.99}, {"step": 2, "time": 0, "val/R@1": score},
                 {"step": 2, "time": 0, "test/R@1": 1 - score}]  # fmt: skip
        (job.path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        summary = {"R@1": score, "MAP@R": score / 2, "queries": 10.0, "select": config.select,
                   "seed": config.train.seed, "train_seconds": 3.0}  # fmt: skip
        (job.path / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def runs(monkeypatch):
    runs = Runs()
    monkeypatch.setattr(search, "run_jobs", runs)
    monkeypatch.setattr(
        search, "check_rows", lambda rows, say, **options: runs.checked.update(rows)
    )
    return runs


@pytest.fixture
def sweep(tmp_path):
    """Return a function that runs the command with two methods and gives its exit code."""
    (tmp_path / "base.yaml").write_text("train: {epochs: 20}\nselect: last\n")
    (tmp_path / "plain.yaml").write_text("model: {steps: 0}\n")
    (tmp_path / "graph.yaml").write_text("model: {steps: 1}\n")
    content = json.loads(json.dumps(SWEEP).replace("BASE", str(tmp_path / "base.yaml")))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))

    def command(*options, methods=("plain", "graph")):
        files = [str(tmp_path / f"{name}.yaml") for name in methods]
        words = ["sweep", str(tmp_path / "sweep.yaml"), "--experiments", *files]
        return run([*words, "--out", str(tmp_path / "out"), *options])

    command.out = tmp_path / "out"
    return command


def table(sweep):
    return json.loads((sweep.out / "table.json").read_text())


def test_equal_budgets_in_turn_then_fresh_seeds(sweep, runs):
    assert sweep("--trials", "3", "--seeds", "2", "--train.epochs", "7") == 0
    assert runs.order == [
        "plain, trial 0", "graph, trial 0", "plain, trial 1", "graph, trial 1",
        "plain, trial 2", "graph, trial 2",
        "plain, seed 1", "graph, seed 1", "plain, seed 2", "graph, seed 2",
    ]  # fmt: skip
    for number in range(3):
        plain, graph = (runs.configs[f"{name}, trial {number}"] for name in ("plain", "graph"))
        assert plain.train == graph.train
        assert (plain.model.steps, graph.model.steps) == (0, 1)
        for config in (plain, graph):
            assert (config.select, config.data.val_classes) == ("val", 0.25)
            assert (config.train.seed, config.train.epochs) == (0, 7)
            assert not config.track.report
    rates = [runs.configs[f"plain, trial {number}"].train.lr for number in range(3)]
    assert len(set(rates)) == 3
    for seed in (1, 2):
        config = runs.configs[f"graph, seed {seed}"]
        assert (config.select, config.train.seed, config.train.epochs) == ("last", seed, 7)
        assert config.train.lr == min(rates, key=lambda rate: abs(rate - BEST_LR))
        assert config.track.report
    assert config.track.group == "out"


def test_the_choice_looks_at_the_last_validation_score_alone(sweep, runs):
    sweep("--trials", "4", "--seeds", "1")
    with (sweep.out / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == 8
    assert not any("test" in name for name in trials[0])
    for trial in trials:
        steps = trial["method"] == "graph"
        expected = 0.5 - abs(float(trial["train.lr"]) - BEST_LR) + 0.1 * steps
        assert float(trial["val/R@1"]) == pytest.approx(expected)


def test_the_table(sweep, runs):
    options = ["--control", "no messages, all else:graph:model.conv=none", "--pair", "graph:plain"]
    assert sweep("--trials", "2", "--seeds", "3", *options) == 0
    found = table(sweep)
    assert [row["name"] for row in found["rows"]] == ["plain", "graph", "no messages, all else"]
    plain, graph, control = found["rows"]
    assert [row["seeds"] for row in found["rows"]] == [[1, 2, 3]] * 3
    assert plain["differences"] == {}
    assert graph["differences"]["R@1"]["mean"] == pytest.approx(0.1)
    assert graph["pairs"]["plain"]["R@1"]["mean"] == pytest.approx(0.1)
    assert control["differences"]["R@1"]["mean"] == pytest.approx(0.07)
    assert control["pairs"]["graph"]["R@1"]["mean"] == pytest.approx(-0.03)
    assert control["pairs"]["graph"]["R@1"]["sd"] == pytest.approx(0, abs=1e-9)
    config = runs.configs["no messages, all else, seed 1"]
    assert (config.model.conv, config.train.lr) == ("none", runs.configs["graph, seed 1"].train.lr)
    # A control has no search of its own.
    assert not any("no messages" in name and "trial" in name for name in runs.order)
    page = (sweep.out / "table.md").read_text()
    assert "| graph - plain | +10.0 ± 0.0 |" in page
    assert "2 random trials of train.lr" in page
    assert "no messages, all else: the values of graph, except model.conv = none" in page
    with (sweep.out / "curves.csv").open() as file:
        points = [(row["setting"], row["seed"], row["what"]) for row in csv.DictReader(file)]
    assert ("no messages, all else", "3", "test/R@1") in points
    with (sweep.out / "trial_curves.csv").open() as file:
        trials = {(row["setting"], row["seed"]) for row in csv.DictReader(file)}
    assert trials == {(name, number) for name in ("plain", "graph") for number in "01"}

    assert sweep("--trials", "2", "--seeds", "3", "--reference", "graph", "--table-only") == 0
    assert table(sweep)["rows"][0]["differences"]["R@1"]["mean"] == pytest.approx(-0.1)
    assert "R@1 against graph" in (sweep.out / "table.md").read_text()


def test_it_goes_on_and_shows_what_is_there(sweep, runs, capsys):
    options = ("--trials", "2", "--seeds", "2")
    runs.interrupt_after = 3
    assert sweep(*options) == 130
    assert "the same command resumes" in capsys.readouterr().out
    # A winner needs all trials of its method.
    assert sweep(*options, "--table-only") == 0
    assert not (sweep.out / "table.json").exists()
    with (sweep.out / "trials.csv").open() as file:
        statuses = [trial["status"] for trial in csv.DictReader(file)]
    assert statuses == ["finished", "finished", "finished", "open"]

    runs.interrupt_after = 6
    assert sweep(*options) == 130
    assert sweep(*options, "--table-only") == 0
    assert [row["seeds"] for row in table(sweep)["rows"]] == [[1], [1]]

    runs.interrupt_after = None
    assert sweep(*options) == 0
    assert len(runs.order) == len(set(runs.order)) == 8
    assert [row["seeds"] for row in table(sweep)["rows"]] == [[1, 2], [1, 2]]


def test_rows_with_different_seeds_are_paired_by_those_they_share(sweep, runs):
    options = ("--trials", "1", "--seeds", "2")
    runs.interrupt_after = 5
    assert sweep(*options) == 130
    assert sweep(*options, "--table-only") == 0
    plain, graph = table(sweep)["rows"]
    assert (plain["seeds"], graph["seeds"]) == ([1, 2], [1])
    assert graph["differences"]["R@1"]["mean"] == pytest.approx(0.1)
    assert graph["differences"]["R@1"]["count"] == 1
    assert "plain 2, graph 1" in (sweep.out / "table.md").read_text()


def test_a_trial_that_diverges_is_the_worst(sweep, runs):
    runs.fails = {"plain, trial 1": True}
    assert sweep("--trials", "3", "--seeds", "1") == 0
    trials = json.loads((sweep.out / "trials.json").read_text())["trials"]
    assert [trial["status"] for trial in trials[:3]] == ["finished", "failed", "finished"]
    assert trials[1]["message"] == "the loss is nan"
    # It is not tried again.
    count = len(runs.order)
    assert sweep("--trials", "3", "--seeds", "1") == 0
    assert len(runs.order) == count


def test_when_all_diverge_it_says_so(sweep, runs, capsys):
    runs.fails = {f"plain, trial {number}": True for number in range(2)}
    assert sweep("--trials", "2") == 2
    assert "every trial of plain failed; the first: the loss is nan" in capsys.readouterr().err


def test_a_run_that_the_machine_ended_keeps_the_choice_open(sweep, runs, capsys):
    runs.fails = {"plain, trial 1": False}
    assert sweep("--trials", "2", "--seeds", "1") == 2
    assert "1 of 4 trials failed" in capsys.readouterr().err
    assert [row["name"] for row in table(sweep)["rows"]] == ["graph"]
    runs.fails = {}
    assert sweep("--trials", "2", "--seeds", "1") == 0
    assert [row["name"] for row in table(sweep)["rows"]] == ["plain", "graph"]


def test_more_trials_may_choose_another_winner(sweep, runs):
    sweep("--trials", "1", "--seeds", "1")
    sweep("--trials", "6", "--seeds", "1")
    rates = [runs.configs[f"plain, trial {number}"].train.lr for number in range(6)]
    best = parse_config(sweep.out / "plain" / "best.yaml", [])
    assert best.train.lr == min(rates, key=lambda rate: abs(rate - BEST_LR)) != rates[0]
    assert (best.select, best.model.steps) == ("last", 0)
    assert "of 6: val/R@1" in (sweep.out / "plain" / "best.yaml").read_text()


def test_runs_of_other_settings_are_not_taken_for_these(sweep, runs, capsys):
    sweep("--trials", "1", "--seeds", "1")
    assert sweep("--trials", "1", "--seeds", "1", "--train.epochs", "3") == 2
    assert "is a run with train.epochs = 20, not 3" in capsys.readouterr().err
    # Nor is a table of them written.
    before = (sweep.out / "plain" / "best.yaml").read_text()
    assert sweep("--trials", "1", "--seeds", "1", "--table-only", "--train.epochs", "3") == 2
    assert "is a run with train.epochs = 20, not 3" in capsys.readouterr().err
    assert (sweep.out / "plain" / "best.yaml").read_text() == before


def test_a_trial_that_failed_with_other_settings_is_tried(sweep, runs):
    runs.fails = {f"plain, trial {number}": True for number in range(2)}
    assert sweep("--trials", "2", "--seeds", "1", methods=("plain",)) == 2
    runs.fails = {}
    assert sweep("--trials", "2", "--seeds", "1", "--train.epochs", "9", methods=("plain",)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--trials: give a number"),
        (["--trials", "0"], "argument --trials: must be a whole number from 1 to 10000"),
        (["--trials", "1", "--control", "a b:graph:model.heads=1", "--control",
          "a_b:graph:model.heads=2"], "differ only in punctuation"),
        (["--trials", "1", "--jobs", "0"], "argument --jobs: must be a whole number from 1 to 256"),
        (["--trials", "1", "--reference", "x"], "unknown row 'x'; known: plain, graph"),
        (["--trials", "1", "--pair", "plain"], "must read A:B"),
        (["--trials", "1", "--pair", "plain:x"], "unknown row 'x'"),
        (["--trials", "1", "--control", "a:b"], "must read NAME:METHOD:FIELD=VALUE"),
        (["--trials", "1", "--control", "a:b:c=d"], "unknown method 'b'"),
        (["--trials", "1", "--control", "plain:graph:model.heads=1"], "plain is the name of"),
        (["--trials", "1", "--control", "a:graph:model.headz=1"], "headz"),
        (["--trials", "1", "--train.lr_milestonez", "1"], "milestonez"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_run_nothing(sweep, runs, capsys, options, message):
    assert sweep(*options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert runs.order == []


def test_two_methods_of_one_name(sweep, capsys):
    assert sweep("--trials", "1", methods=("plain", "plain")) == 2
    assert "two files are named plain" in capsys.readouterr().err


def test_a_layer_that_is_wrong_is_named(sweep, runs, capsys, tmp_path):
    Path(tmp_path / "graph.yaml").write_text("model: {stepz: 1}\n")
    assert sweep("--trials", "1") == 2
    assert "graph.yaml: " in capsys.readouterr().err


def test_twin_is_the_earlier_name_of_control(sweep, runs, capsys):
    options = ["--trials", "1", "--seeds", "1", "--twin", "no messages:plain:model.conv=none"]
    assert sweep(*options) == 0
    warning = "WARNING: --twin is deprecated; write --control"
    assert capsys.readouterr().err.splitlines() == [warning]
    assert "no messages, seed 1" in runs.order


def test_every_row_is_checked_before_the_first_trial(sweep, runs):
    control = "none:graph:model.conv=none"
    assert sweep("--trials", "2", "--seeds", "1", "--control", control) == 0
    assert {name: len(jobs) for name, jobs in runs.checked.items()} == {
        "plain": 2, "graph": 2, "none": 1,
    }  # fmt: skip
    assert runs.checked["none"][0].config.model.conv == "none"
    runs.checked.clear()
    assert sweep("--trials", "2", "--seeds", "1", "--control", control, "--table-only") == 0
    assert runs.checked == {}


def test_labels_and_files_of_a_sweep(sweep, runs, capsys):
    assert sweep("--trials", "1", "--seeds", "2", "--label", "graph=Ours", "--show", "sd") == 0
    printed = capsys.readouterr().out
    assert "graph, seed 2: finished; 4 of 4 done" in printed
    assert "| Ours |" in (sweep.out / "table.md").read_text()
    assert table(sweep)["show"] == "sd"
    for name in ("table.tex", "forest.pdf", "forest.png", "curves.pdf", "curves.png"):
        assert (sweep.out / name).is_file()
    assert sweep("--trials", "1", "--label", "grap=Ours") == 2
    assert "did you mean graph" in capsys.readouterr().err

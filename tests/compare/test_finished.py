"""A table of runs that are finished, each in a folder of its own."""

import csv
import json

import pytest

from ibc_pyg.cli import run
from ibc_pyg.compare.finished import find_rows, read_rows
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.errors import RunError
from ibc_pyg.runs.source_record import record_sources


def make(path, r1, *fields, code=()):
    config = parse_config(None, ["--select", "last", *fields])
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config_to_yaml(config))
    (path / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 0, "train/loss": 1}) + "\n")
    summary = {"R@1": r1, "MAP@R": r1 / 2, "queries": 10.0, "select": config.select,
               "seed": config.train.seed, "train_seconds": 3.0}  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))
    record_sources(path, code)
    return path


@pytest.fixture
def runs(tmp_path):
    return [
        make(tmp_path / "ours-1", 0.7, "--train.seed=1", "--track.tags=[b]"),
        make(tmp_path / "plain", 0.5, "--model.steps=0", "--train.seed=1"),
        make(tmp_path / "ours-0", 0.6, "--train.seed=0", "--data.workers=0"),
        make(tmp_path / "grid" / "heads=2" / "seed-0", 0.65, "--model.heads=2"),
    ]


def test_runs_that_differ_in_their_seed_are_one_row(runs):
    log = runs[3].with_name("seed-0.log")  # as by the pattern grid/*/seed-*
    log.write_text("")
    rows = find_rows([*runs, log])
    assert [(row.name, row.seeds) for row in rows] == [
        ("ours", (0, 1)), ("plain", (1,)), ("heads=2", (0,)),
    ]  # fmt: skip
    assert rows[0].paths == (runs[2], runs[0])
    assert [each["R@1"] for each in read_rows(rows)[rows[0]]] == [0.6, 0.7]


def test_the_command_writes_all_files(runs, tmp_path, capsys):
    out = tmp_path / "table"
    words = ["compare", "--from", *map(str, runs), "--out", str(out), "--reference", "plain",
             "--label", "heads=2=Two heads", "--show", "sd"]  # fmt: skip
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert "against plain" in printed
    assert "Two heads" in printed
    names = {"table.md", "table.csv", "table.json", "table.tex", "table.html", "forest.pdf",
             "forest.png", "curves.csv", "curves.pdf", "curves.png"}  # fmt: skip
    assert {path.name for path in out.iterdir()} - {".lock", ".lock.json"} == names
    with (out / "table.csv").open() as file:
        ours = next(csv.DictReader(file))
    # Only seed 1 is common with the reference.
    assert float(ours["difference"]) == pytest.approx(0.2)
    assert run(words) == 0  # the table may be written again


def test_runs_of_other_code_are_another_row(tmp_path):
    file = tmp_path / "own.py"
    paths = []
    for seed, text in enumerate(["a = 1", "a = 1", "a = 2"]):
        file.write_text(text)
        fields = [f"--model.conv={file}:Own", f"--train.seed={seed}"]
        paths.append(make(tmp_path / f"own-{seed}", 0.5, *fields, code=[f"{file}:Own"]))
    assert [row.seeds for row in find_rows(paths)] == [(0, 1), (2,)]


def test_what_makes_no_table(runs, tmp_path):
    twice = make(tmp_path / "again", 0.7, "--train.seed=1")
    with pytest.raises(RunError, match="same settings and seed 1"):
        find_rows([*runs, twice])
    other = make(tmp_path / "cub", 0.7, "--data.name=cub", f"--data.root={tmp_path}")
    with pytest.raises(RunError, match=r"a run on cub, but .* on glyphs"):
        find_rows([runs[0], other])
    with pytest.raises(RunError, match="not a run folder"):
        find_rows([tmp_path])
    (runs[1] / "summary.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        read_rows(find_rows(runs))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compare", "x.yaml", "--from", "RUN"], "leave out the experiment"),
        (["compare", "--from", "RUN", "--train.epochs", "3"], "leave out the experiment"),
        (["compare"], "needs an experiment file, or finished runs"),
        (["compare", "--from", "RUN", "--reference", "our"], "did you mean ours-1"),
        (["compare", "--from", "RUN", "--label", "x=y"], "--label 'x=y'"),
    ],
)
def test_mistakes_are_one_line(runs, tmp_path, capsys, words, says):
    words = [str(runs[0]) if word == "RUN" else word for word in words]
    assert run([*words, "--out", str(tmp_path / "table")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "table").exists()


def test_files_of_others_are_not_mixed_with_tables(runs, tmp_path, capsys):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "thesis.md").write_text("")
    assert run(["compare", "--from", str(runs[0]), "--out", str(tmp_path / "table")]) == 2
    assert "holds thesis.md" in capsys.readouterr().err

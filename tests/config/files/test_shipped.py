"""Shipped experiments are found by their names, from any folder, and files come first."""

from pathlib import Path

import pytest

from ibc_pyg.cli import run
from ibc_pyg.config.files.overlays import parse_overlays
from ibc_pyg.config.files.renamed import current_path, expand_renamed
from ibc_pyg.config.files.shipped import shipped, shipped_matches, shipped_names

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name", ["glyphs", "glyphs.yaml", "experiments/glyphs.yaml", "paper/cub", "baselines/ce.yaml"]
)
def test_a_name_finds_the_shipped_file(name):
    inner = name.removeprefix("experiments/").removesuffix(".yaml")
    assert current_path(Path(name)) == shipped(Path(name)) == EXPERIMENTS / f"{inner}.yaml"


@pytest.mark.parametrize("name", ["nothing", "../experiments/glyphs", "/glyphs", ".", "x" * 5000])
def test_other_names_find_nothing(name):
    assert current_path(Path(name)) == Path(name)


def test_a_file_of_the_user_comes_first():
    Path("glyphs").write_text("train: {epochs: 3}\n")
    assert current_path(Path("glyphs")) == Path("glyphs")
    assert parse_overlays([Path("glyphs")], []).train.epochs == 3


def test_a_folder_of_that_name_is_no_experiment():
    Path("pictures").mkdir()
    assert current_path(Path("pictures")) == EXPERIMENTS / "pictures.yaml"


def test_an_old_name_finds_the_shipped_file_of_the_new_one():
    old = Path("experiments/graph_plus/supcon_graph.yaml")
    assert current_path(old) == EXPERIMENTS / "with_graph/supcon_graph.yaml"


def test_a_pattern_finds_a_shipped_folder():
    files = sorted((EXPERIMENTS / "baselines").glob("*.yaml"))
    assert expand_renamed([Path("experiments/baselines/*.yaml")]) == files
    assert shipped_matches(Path("baselines/*")) == files


def test_every_file_but_the_results_has_a_name():
    files = {path.relative_to(EXPERIMENTS) for path in EXPERIMENTS.rglob("*.yaml")}
    names = {Path(f"{name}.yaml") for name in shipped_names()}
    assert names == {path for path in files if path.parts[0] != "results"}


def test_list_and_print(capsys):
    assert run(["experiments"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [words[0] for words in listed[1:]] == shipped_names()
    assert all(len(words) == 2 for words in listed)
    assert run(["experiments", "pictures"]) == 0
    assert capsys.readouterr().out == (EXPERIMENTS / "pictures.yaml").read_text()


def test_an_unknown_name_is_one_line_with_close_ones(capsys):
    assert run(["experiments", "glyph"]) == 2
    assert "did you mean glyphs" in capsys.readouterr().err
    assert run(["train", "glyph"]) == 2
    assert "experiments` lists" in capsys.readouterr().err


def test_compare_and_sweep_take_names(capsys):
    fields = ["--train.epochs", "0"]
    assert run(["compare", "glyphs", "--layers", "baselines/*", "--out", "x", *fields]) == 2
    assert "train.epochs" in capsys.readouterr().err
    assert run(["sweep", "sweeps/glyphs", "--out", "x", "--trials", "1", *fields]) == 2
    assert "train.epochs" in capsys.readouterr().err

"""Selection on the test classes is marked in every output."""

import io
import json

import pytest
from rich.console import Console

from ibc_pyg.cli import run as command
from ibc_pyg.commands.options.common import print_summary
from ibc_pyg.errors import ConfigError
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training.run import train
from tests.helpers.digits_run import OPTIONS, digits, quick

NOTE = "the epoch was chosen on the test classes (select = test)"
SHORT = ("--train.epochs", "1", "--train.lr_milestones", "[]")


def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module", params=["test", "last"])
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / request.param
    return train(digits(*SHORT, "--select", request.param), path, console())


def marked(run, text):
    """Return whether a text contains the note exactly if the run was selected on test classes."""
    return (NOTE in text) == (load_run(run.path).config.select == "test")


def test_summary_console_and_report(run):
    out = console()
    print_summary(run, out)
    assert marked(run, out.file.getvalue())
    select = load_run(run.path).config.select
    assert run.read_summary()["select"] == select
    assert ("BEST ON THE TEST CLASSES" in run.report.read_text()) == (select == "test")


def test_a_missing_report_is_not_printed(run, tmp_path):
    out = console()
    print_summary(run, out)
    assert str(run.report) in out.file.getvalue()
    out = console()
    print_summary(train(quick(*SHORT), tmp_path / "without", console()), out)
    assert "report" not in out.file.getvalue()


def test_evaluate_and_search(run, tmp_path, capsys):
    found = tmp_path / "found.json"
    assert command(["evaluate", str(run.path), "--json", str(found)]) == 0
    assert marked(run, capsys.readouterr().out)
    trained = load_run(run.path)
    assert json.loads(found.read_text())["select"] == trained.config.select
    images = EvalSet(trained)
    picture = images.picture_file(int(images.splits.test.queries[0]))
    assert command(["search", str(run.path), str(picture), "-k", "3", "--json", str(found)]) == 0
    assert marked(run, capsys.readouterr().out)
    searched = json.loads(found.read_text())
    assert searched["select"] == trained.config.select
    assert len(searched["hits"]) == 3


@pytest.mark.parametrize("select", ["test", "last"])
def test_the_table_of_a_comparison(tmp_path, select, capsys):
    from tests.helpers.digits_run import OPTIONS

    experiment = tmp_path / "digits.yaml"
    experiment.write_text("select: last\n")
    options = [*OPTIONS, *SHORT, "--select", select, "--track.report", "false"]
    out = tmp_path / "grid"
    code = command(["compare", str(experiment), "--seeds", "1", "--out", str(out), *options])
    assert code == 0
    printed = capsys.readouterr().out.lower()
    for text in (printed, *(out.joinpath(f"table.{kind}").read_text() for kind in ("md", "html"))):
        assert (NOTE in text.lower()) == (select == "test")
    table = json.loads(out.joinpath("table.json").read_text())
    assert table["chosen_on_test"] == (select == "test")


def test_folds_are_compared_like_any_field(tmp_path):
    """Compare folds, each of which selects its epoch on other classes."""
    experiment = tmp_path / "digits.yaml"
    experiment.write_text("select: val\n")
    options = [*OPTIONS, *SHORT, "--select", "val", "--data.val_classes", "0.4"]
    options += ["--data.classes_per_batch", "3", "--track.report", "false"]
    vary = ["--vary", "data.val_fold=0,1", "--seeds", "1", "--out", str(tmp_path / "folds")]
    assert command(["compare", str(experiment), *vary, *options]) == 0
    table = json.loads((tmp_path / "folds" / "table.json").read_text())
    assert [row["name"] for row in table["rows"]] == ["val_fold=0", "val_fold=1"]


@pytest.mark.parametrize("select", ["last", "test"])
def test_a_fold_needs_held_out_classes(select):
    with pytest.raises(ConfigError, match=r"data\.val_fold selects"):
        digits("--select", select, "--data.val_fold", "1")
    folded = digits("--select", "val", "--data.val_fold", "1")
    assert folded.on_all_classes().select == "last"

"""Training on all images: the model is kept, and every command says that nothing was tested."""

import io

import pytest
from PIL import Image
from rich.console import Console

from ibc_pyg.cli import run as cli
from ibc_pyg.commands.options.common import print_summary
from ibc_pyg.compare.runs import scores_of
from ibc_pyg.errors import ConfigError, DatasetError, RunError
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.trained import load_run
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.dry_run import dry_run
from ibc_pyg.training.experiment import setup
from tests.helpers.digits_run import quiet
from tests.helpers.folder_run import folder_config, folder_run

ALL = ("--data.options", "{layout: classes, test_fraction: 0}", "--data.classes_per_batch", "2")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return folder_run(
        tmp_path_factory.mktemp("all"),
        *(*ALL, "--train.evaluate_every", "1", "--track.report", "true"),
    )


def test_the_model_and_a_summary_without_scores(path):
    summary = RunFolder(path).read_summary()
    assert summary["tested"] is False
    assert "R@1" not in summary
    assert not (path / "descriptors.safetensors").exists()
    picture = next((path.parent / "pictures").rglob("*.jpg"))
    assert Embedder.of(load_run(path)).embed([picture]).shape == (1, 16)
    out = Console(file=io.StringIO(), width=500)
    print_summary(RunFolder(path), out)
    assert "no test images, so nothing is tested" in out.file.getvalue()


def test_the_report_says_so(path):
    page = (path / "report.html").read_text()
    assert "no test images, so nothing is tested" in page
    assert "there is no gallery" in page


@pytest.mark.parametrize("command", ["evaluate", "search"])
def test_commands_that_need_test_images_say_so_in_one_line(path, command, capsys):
    more = [str(next((path.parent / "pictures").rglob("*.jpg")))] if command == "search" else []
    assert cli([command, str(path), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "there are no test images, so nothing is tested" in error


def test_selection_on_test_images_is_refused_before_training(path):
    with pytest.raises(ConfigError, match="select = test needs test images"):
        setup(folder_config(path.parent / "pictures", *ALL, "--select", "test",
                            "--train.evaluate_every", "1"))  # fmt: skip


def test_dry_run(path):
    assert "no test images" in str(dry_run(folder_config(path.parent / "pictures", *ALL)))


def test_a_comparison_says_so(path):
    with pytest.raises(RunError, match="cannot be compared: there are no test images"):
        scores_of(RunFolder(path))


def test_one_class_is_refused(tmp_path):
    for index in range(6):
        (tmp_path / "a" / "x").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "a" / "x" / f"{index}.png")
    one = (*ALL[:3], "1", "--data.images_per_class", "2")
    with pytest.raises(DatasetError, match="all training images have the same class"):
        setup(folder_config(tmp_path, *one), quiet())

"""The command line: one-line errors, exit codes, and a fast --help."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ibc_pyg.cli import run
from ibc_pyg.commands import COMMANDS
from tests.helpers.command_line import fails

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "torch_geometric", "faiss", "sklearn", "matplotlib", "wandb")


@pytest.mark.parametrize("command", [None, *(command.NAME for command in COMMANDS)])
def test_help_imports_nothing_heavy(command):
    arguments = ["--help"] if command is None else [command, "--help"]
    code = (
        "import sys\nfrom ibc_pyg.cli import run\n"
        f"try:\n    run({arguments!r})\nexcept SystemExit as e:\n    assert not e.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "usage: run.py" in done.stdout


def test_top_level_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "run.py", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert all(command.NAME in done.stdout for command in COMMANDS)


def test_every_field_is_listed(capsys):
    with pytest.raises(SystemExit) as caught:
        run(["train", "--help-fields"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--model.heads" in text
    assert "attention heads" in text


def test_no_command(capsys):
    assert "COMMAND" in fails(capsys)


def test_unknown_command_and_argument(capsys, tmp_path):
    assert "nonsense" in fails(capsys, "nonsense")
    assert "--nonsense" in fails(capsys, "report", tmp_path, "--nonsense")


def test_train_without_an_experiment(capsys):
    assert "experiment file" in fails(capsys, "train")


def test_missing_experiment(capsys, tmp_path):
    assert "no.yaml is not a file" in fails(capsys, "train", tmp_path / "no.yaml")


def test_unknown_key(capsys, tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("model:\n  stepz: 1\n")
    line = fails(capsys, "train", file)
    assert "stepz" in line
    assert "e.yaml" in line


@pytest.mark.parametrize("field", [["--train.lr", "-1"], ["--train.lr=-1"]])
def test_fields_before_or_after_the_experiment(capsys, tmp_path, field):
    file = tmp_path / "e.yaml"
    file.write_text("select: last\n")
    after = fails(capsys, "train", file, *field)
    assert fails(capsys, "train", *field, file) == after
    assert "train.lr must be in (0, 1e+32]" in after
    unknown = fails(capsys, "train", file, "--model.stepz", "1")
    assert "--help-fields" in unknown
    assert "did you mean model.steps" in unknown
    short = fails(capsys, "train", file, "--train.lr_milestones", "3")
    assert "train.lr_milestones must be a list, such as '[VALUE]'" in short


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--train.lr", "-1"], "train.lr must be in (0, 1e+32]"),
        (["--data.name", "cup"], "data.name"),
        (["--data.name", "folder"], "data.root"),
        (["--data.name", "folder", "--data.root", "/no/such/folder"], "/no/such/folder"),
        (["--data.options", "{colour: red}"], "colour"),
        (["--data.transform", "glyph"], "data.transform"),
        (["--data.transform_args", "{colour: red}"], "colour"),
        (["--model.backbone", "conv5"], "model.backbone"),
        (["--model.backbone_args", "{colour: red}"], "colour"),
        (["--model.conv", "GATConf"], "GATConf"),
        (["--model.mpn_args", "{colour: red}"], "colour"),
        (["--model.mpn_args", "{dropout_mlp: 2}"], "dropout_mlp"),
        (["--model.mpn_args", "{dropout_mlp: much}"], "dropout_mlp"),
        (["--data.transform_args", "{image_size: large}"], "image_size"),
        (["--model.graph", "knn"], "'k'"),
        (["--model.graph", "knn", "--model.graph_args.k", "500"], "model.graph_args"),
        (["--model.graph", "threshold", "--model.graph_args.colour", "1"], "colour"),
        (["--model.graph", "threshold", "--model.conv", "SAGEConv"], "SAGEConv"),
        (["--model.weights", "/no/such/file.pt"], "/no/such/file.pt"),
        (["--data.classes_per_batch", "5000"], "data.classes_per_batch"),
        (["--data.images_per_class", "5000"], "data.images_per_class"),
        (["--train.device", "cuda"], "train.device"),
    ],
)
def test_invalid_field_is_named_and_leaves_no_folder(capsys, tmp_path, options, names):
    if options == ["--train.device", "cuda"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    file = tmp_path / "digits.yaml"
    file.write_text(
        "select: last\ndata: {name: digits, classes_per_batch: 4, images_per_class: 2, "
        "transform: none, transform_args: {image_size: 8}}\n"
    )
    out = tmp_path / "run"
    assert names in fails(capsys, "train", file, *options, "--out", out)
    assert not out.exists()


def test_an_empty_folder_of_pictures(capsys, tmp_path):
    (tmp_path / "pictures").mkdir()
    file = tmp_path / "e.yaml"
    file.write_text(f"data: {{name: folder, root: {tmp_path / 'pictures'}}}\n")
    assert "pictures" in fails(capsys, "train", file)


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_a_folder_that_is_not_a_run(capsys, tmp_path, command):
    assert "no config.yaml" in fails(capsys, command, tmp_path)
    assert "not a folder" in fails(capsys, command, tmp_path / "nowhere")


def test_invalid_resume(capsys, tmp_path):
    assert "not a run folder" in fails(capsys, "train", "--resume", tmp_path)
    assert "e.yaml is not a file" in fails(capsys, "train", "e.yaml", "--resume", tmp_path)
    assert "--out" in fails(capsys, "train", "--resume", tmp_path, "--out", tmp_path / "other")


def test_search_with_bad_input(capsys, tmp_path):
    assert "is not a file" in fails(capsys, "search", tmp_path, tmp_path / "no.png")
    assert "argument -k: must be a whole number from 1 to 1000000" in fails(
        capsys, "search", tmp_path, __file__, "-k", "0"
    )


def test_compare_checks_every_setting_before_the_first_run(capsys, tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("select: last\n")
    line = fails(capsys, "compare", file, "--vary", "model.heads=4,3", "--out", tmp_path / "grid")
    assert "model.heads" in line
    assert not (tmp_path / "grid").exists()


def test_data_commands(capsys, tmp_path):
    assert run(["data", "list"]) == 0
    assert "glyphs" in capsys.readouterr().out
    assert "data.name" in fails(capsys, "data", "verify", "cup")
    assert "ACTION" in fails(capsys, "data")


def test_names_of_files_do_not_act_on_the_terminal(capsys, tmp_path):
    name = tmp_path / "a\x1b[31m\u202e\udce9\n.yaml"
    line = fails(capsys, "train", name)
    assert line.isprintable()
    assert r"a\x1b[31m\u202e\udce9 .yaml" in line
    assert fails(capsys, "nonsense\x1b[31m").isprintable()


def test_help_of_a_field_lists_the_fields(capsys):
    assert run(["train", "--loss.terms.help"]) == 0
    assert "--loss.terms " in capsys.readouterr().out

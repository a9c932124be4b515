"""From a sample in a benchmark's own layout to its scores, all on the command line."""

import json
from pathlib import Path

import pytest

from ibc_pyg.cli import run
from ibc_pyg.config.files.yaml_file import config_from_yaml

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
# Four classes of six pictures on each side: what the published sizes are scaled down to.
SMALL = [
    "--data.classes_per_batch", "2", "--data.images_per_class", "3", "--data.workers", "0",
    "--data.allow_partial", "true",
    "--model.backbone", "conv4", "--model.backbone_args", "{width: 8}", "--model.weights", "null",
    "--model.embedding_dim", "32",
    "--train.epochs", "2", "--train.lr_milestones", "[1]", "--train.evaluate_every", "1",
    "--train.device", "cpu",
]  # fmt: skip
AT_32_PIXELS = ["--data.transform_args", "{image_size: 32}"]
HELD_OUT = ["--data.val_classes", "0.5"]

CASES = {
    "cub": ("cub.yaml", [*AT_32_PIXELS, *HELD_OUT]),
    "cub, as released": ("paper/cub.yaml", [*AT_32_PIXELS, "--train.reload_best_at", "[1]"]),
    "cars": ("cars.yaml", [*AT_32_PIXELS, *HELD_OUT]),
    "cars, as released": ("paper/cars.yaml", [*AT_32_PIXELS, "--train.reload_best_at", "[1]"]),
    "sop": ("sop.yaml", [*AT_32_PIXELS, *HELD_OUT]),
    "sop, as released": ("paper/sop.yaml", [*AT_32_PIXELS, "--train.reload_best_at", "[1]"]),
    "inshop": ("inshop.yaml", [*AT_32_PIXELS, *HELD_OUT]),
    "inshop, as released": ("paper/inshop.yaml", [*AT_32_PIXELS, "--train.reload_best_at", "[1]"]),
    "omniglot": ("omniglot.yaml", []),
    "grocery_store": ("grocery_store.yaml", [*AT_32_PIXELS, "--model.weights", "null"]),
    "folder": ("pictures.yaml", AT_32_PIXELS),
    "csv": ("pictures.yaml", [*AT_32_PIXELS, "--data.name", "csv"]),
}


def succeeds(capsys, *arguments):
    """Run a command that must succeed; return what it printed."""
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("case", CASES)
def test_sample_verify_train_evaluate(case, tmp_path, capsys):
    file, changes = CASES[case]
    name = case.partition(",")[0]
    root, out, scores = tmp_path / "data", tmp_path / "run", tmp_path / "scores.json"
    succeeds(capsys, "data", "make-sample", name, "--out", root)
    checked = succeeds(capsys, "data", "verify", name, "--root", root, "--allow-partial")
    assert "48" in checked  # 2 x 4 classes of 6 pictures
    said = succeeds(
        capsys, "train", EXPERIMENTS / file, "--out", out, "--data.root", root, *SMALL, *changes
    )
    config = config_from_yaml(out / "config.yaml")
    assert ("chosen on the test classes" in said) == (config.select == "test")
    succeeds(capsys, "evaluate", out, "--json", scores)
    metrics, summary = (
        json.loads(scores.read_text()),
        json.loads((out / "summary.json").read_text()),
    )
    wanted = {f"R@{k}" for k in config.evaluate.ks} | {"R@1", "MAP@R", "RP"}
    assert wanted <= set(metrics)
    assert all(0 <= metrics[key] <= 1 for key in wanted)
    assert all(metrics[key] == summary[key] for key in wanted)
    assert ("NMI" in metrics) == config.evaluate.clustering
    # Half of a test class of In-Shop is queries, the other half their gallery.
    assert metrics["queries"] == (12 if name == "inshop" else 24)
    assert summary["select"] == config.select
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_grocery_store_from_imagenet_on_real_photographs(shared, tmp_path, capsys):
    """A few steps keep what ImageNet brings: frozen features find 4 of 5 at full size."""
    weights = shared / "weights" / "efficientnet_lite0_timm.safetensors"
    out = tmp_path / "run"
    succeeds(
        capsys, "train", EXPERIMENTS / "grocery_store.yaml", "--out", out,
        "--data.root", shared / "data" / "grocery_store", "--model.weights", weights,
        "--data.transform_args", "{image_size: 64}", "--data.images_per_class", "24",
        "--train.epochs", "1", "--train.lr_milestones", "[]", "--train.evaluate_every", "1",
        "--train.device", "cpu", "--evaluate.clustering", "false",
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["queries"] == 2370
    assert summary["R@1"] > 0.5


@pytest.mark.slow
def test_omniglot_on_real_drawings(shared, tmp_path, capsys):
    """Two epochs pass the raw pixels: at 28 px, ink as 1, they find 36 of 100."""
    out = tmp_path / "run"
    succeeds(
        capsys, "train", EXPERIMENTS / "omniglot.yaml", "--out", out,
        "--data.root", shared / "data" / "omniglot_small",
        "--train.epochs", "2", "--train.lr_milestones", "[1.5]", "--train.evaluate_every", "1",
        "--train.device", "cpu", "--evaluate.clustering", "false",
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["queries"] == 2120
    assert summary["R@1"] > 0.37


def test_raw_pixels_of_files_are_refused_before_the_training(tmp_path, capsys):
    succeeds(capsys, "data", "make-sample", "folder", "--out", tmp_path / "data")
    code = run(
        ["train", str(EXPERIMENTS / "sample.yaml"), "--out", str(tmp_path / "run"),
         "--data.root", str(tmp_path / "data"), "--evaluate.raw_pixels", "true"]
    )  # fmt: skip
    assert code == 2
    assert "evaluate.raw_pixels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

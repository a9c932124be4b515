"""Trainings with a sample of the classes: resumed to the bit, and the same in several processes."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.run import train
from tests.helpers.digits_run import interrupted_and_resumed, quick, quiet, records
from tests.helpers.processes import run_processes, torchrun_environment

SAMPLED = [
    "--loss.sampled_classes", "0.5", "--data.classes_per_batch", "2", "--data.images_per_class",
    "2", "--train.epochs", "1", "--model.auxiliary_neck", "true",
]  # fmt: skip
"""Batches of 4 images, and 4 of 5 classes in each."""
NO_DROPOUT = [
    "--model.mpn_args",
    "{dropout_attention: 0.0, dropout_conv: 0.0, dropout_hidden: 0.0, dropout_mlp: 0.0}",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(quick(*SAMPLED), tmp_path_factory.mktemp("runs") / "whole", quiet())


def test_a_sample_of_the_classes_trains_otherwise(run, tmp_path):
    assert load_file(run.weights)["auxiliary_head.linear.weight"].shape[0] == 5
    full = train(quick(*SAMPLED[2:]), tmp_path / "full", quiet())
    assert records(full)[0]["train/loss"] != records(run)[0]["train/loss"]
    assert full.weights.read_bytes() != run.weights.read_bytes()


def test_all_classes_in_each_sample_are_the_full_heads(tmp_path):
    """Batches of 32 images are more than the classes: all are drawn."""
    runs = [
        train(quick("--train.epochs", "1", *more), tmp_path / str(len(more)), quiet())
        for more in ([], ["--loss.sampled_classes", "0.5"])
    ]
    full, sampled = (load_file(run.weights) for run in runs)
    assert full.keys() == sampled.keys()
    for name, value in full.items():
        assert (value - sampled[name]).abs().max() <= 1e-5, name
    for one, other in zip(*map(records, runs), strict=True):
        same = {name: value for name, value in one.items() if "grad_norm/" not in name}
        for name, value in same.items():
            assert other[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("stop_at", [3, 40])
def test_an_interrupted_run_goes_on_to_the_bit(run, tmp_path, stop_at):
    cut = interrupted_and_resumed(quick(*SAMPLED), tmp_path / "cut", stop_at)
    assert cut.weights.read_bytes() == run.weights.read_bytes()
    assert records(cut) == records(run)


def train_whole(rank, world, out):
    return str(train(quick(*SAMPLED, *NO_DROPOUT), Path(out), quiet()).path)


def test_two_processes_draw_and_train_as_one(tmp_path):
    alone = train(quick(*SAMPLED, *NO_DROPOUT), tmp_path / "one", quiet())
    out = str(tmp_path / "two")
    run_processes(train_whole, 2, out, environment=torchrun_environment(2))
    found, wanted = records(RunFolder(Path(out))), records(alone)
    assert len(found) == len(wanted)
    for one, other in zip(found[:5], wanted[:5], strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name

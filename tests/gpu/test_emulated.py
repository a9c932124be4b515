"""Rules and waits of a GPU, on an emulated device; kernels and speed need a real one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent / "emulated"

pytestmark = pytest.mark.skipif(
    torch.version.cuda is None or shutil.which("g++") is None or sys.platform != "linux",
    reason="the emulated device needs torch's CUDA build and g++",
)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """Run a case of `emulated/cases.py` and return its result."""
    out = tmp_path_factory.mktemp("shim")
    shim = out / "shim.so"
    for source, made in (("shim.cpp", shim), ("stub.cpp", out / "libcuda.so.1")):
        command = ["g++", "-O1", "-shared", "-fPIC", "-o", str(made), str(FOLDER / source)]
        subprocess.run(command, check=True)

    def run(*words):
        environment = os.environ | {
            "LD_PRELOAD": str(shim),
            "LD_LIBRARY_PATH": str(out),
            "PYTHONPATH": str(FOLDER.parents[2]),
        }
        command = [sys.executable, "-W", "ignore", "-m", "tests.gpu.emulated.cases", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_step_waits_only_for_the_requested_look(emulated):
    found = emulated("train", "--track.every", "1", "--track.statistics_every", "0")
    assert found["steps"] > 5
    assert all(len(waits) == 1 for waits in found["waits"]), found["waits"]
    assert all("divergence" in waits[0][2] for waits in found["waits"])


def test_steps_without_a_look_do_not_wait(emulated):
    found = emulated("train", "--track.every", "1000", "--track.statistics_every", "0")
    assert found["waits"]
    assert not any(found["waits"]), found["waits"]


def test_a_fused_step_is_that_of_single_tensors(emulated):
    words = ["train", "--train.optimizer", "AdamW", "--track.statistics_every", "0"]
    words += ["--track.every", "1"]
    fused = emulated(*words)
    plain = emulated(*words, "--train.optimizer_args", "{fused: false, foreach: false}")
    assert (fused["kernels"], plain["kernels"]) == (["aten._fused_adamw_"], [])
    assert fused["losses"][:10] == pytest.approx(plain["losses"][:10], rel=1e-4)
    assert all(len(waits) == 1 for waits in fused["waits"]), fused["waits"]
    assert fused["benchmark"]


def test_retrieval_on_the_device_is_exactly_that_of_the_cpu(emulated):
    for name, (expected, found, products) in emulated("retrieval").items():
        assert found == expected, name
        assert products > 0 or name == "collapsed"


def test_descriptors_of_a_run_are_ranked_on_its_device_unless_asked_otherwise(emulated):
    there = emulated("scores", "--train.lr", "0.01")
    here = emulated("scores", "--train.lr", "0.01", "--evaluate.device", "cpu")
    assert there.pop("products")[0] > 0
    assert here.pop("products") == [0]
    assert there == here


@pytest.mark.parametrize("name", ["imagenet", "glyphs"])
def test_transforms_do_not_wait(emulated, name):
    found = emulated("transform", name)
    assert found["waits"] == []
    assert found["error"] < 1e-5


def test_crops_are_scaled_without_a_wait(emulated):
    assert emulated("crops") == {"waits": [], "error": 0.0}


def test_tensors_of_losses_move_to_the_device(emulated):
    names = ["MarginLoss", "P2SGradLoss", "TupletMarginLoss", "MultiSimilarityLoss"]
    found = emulated("losses", *names)
    for name in names:
        on_cpu, on_device = found[name]
        assert on_device == pytest.approx(on_cpu, rel=1e-5), name


@pytest.mark.slow
def test_every_loss_works_on_the_device(emulated):
    from ibc_pyg.losses.metric_learning import loss_names

    names = [name for name in loss_names() if name != "RankedListLoss"]  # needs arguments
    found = emulated("losses", *names)
    broken = {name: value for name, value in found.items() if isinstance(value, str)}
    assert not broken

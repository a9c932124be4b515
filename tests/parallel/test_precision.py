"""Devices and number formats, as far as a CPU shows them."""

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from ibc_pyg.config import TrainConfig
from ibc_pyg.data.loading.loader import Loading, train_loader
from ibc_pyg.errors import ConfigError
from ibc_pyg.parallel import fabric as fabric_module
from ibc_pyg.parallel.precision import (
    check_device,
    fabric_devices,
    set_convolution,
    set_multiplication,
)
from ibc_pyg.runs.checkpoint import load_newest
from ibc_pyg.training import experiment as setting_up
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import train
from ibc_pyg.training.step import train_step
from tests.helpers.digits_run import quick, quiet, records

SHORT = ("--train.epochs", "1", "--train.lr_milestones", "[]")
EXACT = "32-true"


def test_tf32_changes_nothing_on_a_cpu(tmp_path):
    runs = [
        train(quick(*SHORT, "--train.precision", name), tmp_path / name, quiet())
        for name in (EXACT, "tf32")
    ]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    assert torch.get_float32_matmul_precision() == "highest"


def test_tf32_is_asked_for_on_a_gpu_and_only_there(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    seen = []
    for device, name in (("cuda", "tf32"), ("cuda", EXACT), ("cpu", "tf32")):
        set_multiplication(name, torch.device(device))
        seen.append(torch.backends.cudnn.allow_tf32)
    assert asked == ["high", "highest"]
    # torch itself would convolve in tf32 unless told otherwise.
    assert seen == [True, False, False]


def test_convolutions_are_measured_on_a_gpu_alone(monkeypatch):
    seen = []
    for device, wanted in (("cpu", True), ("cuda", True), ("cuda", False)):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", not wanted)
        set_convolution(TrainConfig(cudnn_benchmark=wanted), torch.device(device))
        seen.append(torch.backends.cudnn.benchmark)
    assert seen == [False, True, False]


def test_bfloat16_trains_nearly_as_float32(tmp_path):
    losses = []
    for name in (EXACT, "bf16-mixed"):
        run = train(quick(*SHORT, "--train.precision", name), tmp_path / name, quiet())
        losses.append([r["train/loss"] for r in records(run) if "train/loss" in r])
    # 8 bits of mantissa in the layers, a few steps.
    assert losses[1][:5] == pytest.approx(losses[0][:5], rel=0.02)
    assert losses[1] != losses[0]


def test_float16_without_a_gpu_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"precision is 16-mixed, which needs a GPU.*bf16-mixed"):
        train(quick("--train.precision", "16-mixed", "--train.device", "cpu"), tmp_path, quiet())


@pytest.fixture
def scaled(monkeypatch):
    """Scaling of float16 gradients, which Lightning has for GPUs alone, on the CPU."""

    def with_scale(scale):
        def start(device, precision):
            scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=4)
            plugin = MixedPrecision("16-mixed", "cpu", scaler)
            fabric = Fabric(accelerator="cpu", devices=1, plugins=plugin)
            fabric.launch()
            return fabric

        monkeypatch.setattr(fabric_module, "start_fabric", start)
        monkeypatch.setattr(setting_up, "check_scaling", lambda *given: None)

    return with_scale


@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_infinite_gradients_under_scaling_skip_the_step_and_halve_the_scale(scaled, clip):
    scaled(2.0**60)
    experiment = setup(quick("--train.precision", "16-mixed", "--train.clip_norm", clip))
    scaler = experiment.fabric.strategy.precision.scaler
    loader = train_loader(
        experiment.data.train_table,
        experiment.sampler,
        experiment.data.transform,
        Loading(device=experiment.fabric.device),
        seed=0,
    )
    batch = next(iter(loader))
    weights = [parameter.detach().clone() for parameter in experiment.model.parameters()]
    values = train_step(experiment, batch)
    assert values["train/loss"].isfinite()
    assert scaler.get_scale() == 2.0**59
    assert all(map(torch.equal, weights, experiment.model.parameters()))
    while scaler.get_scale() > 2.0**8:
        train_step(experiment, batch)
        if not all(map(torch.equal, weights, experiment.model.parameters())):
            break
    assert not all(map(torch.equal, weights, experiment.model.parameters()))
    assert all(parameter.isfinite().all() for parameter in experiment.model.parameters())


def test_a_run_finds_its_scale_and_keeps_it(scaled, tmp_path):
    scaled(2.0**30)
    run = train(quick(*SHORT, "--train.precision", "16-mixed"), tmp_path / "run", quiet())
    kept = load_newest(run.checkpoints)[1]["precision"]
    assert 1 < kept["scale"] < 2.0**30
    assert run.read_summary()["R@1"] > 0.3


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_no_gpu_is_one_line(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=rf"train\.device is {device}, but torch sees no GPU"):
        check_device(TrainConfig(device=device))


def test_a_gpu_that_is_not_there_and_one_for_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"cuda:3, but torch sees 2 GPUs: cuda:0 to cuda:1"):
        check_device(TrainConfig(device="cuda:3"))
    with pytest.raises(ConfigError, match="2 processes, each with a GPU of its own"):
        check_device(TrainConfig(device="cuda:1"), processes=2)
    check_device(TrainConfig(device="cuda:1"))
    assert fabric_devices("cuda:1") == {"accelerator": "cuda", "devices": [1]}
    assert fabric_devices("auto") == {"accelerator": "auto", "devices": 1}

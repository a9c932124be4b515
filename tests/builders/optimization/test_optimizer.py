"""Learning rates, compared with schedulers of torch and closed forms."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ibc_pyg.builders.model import build_model
from ibc_pyg.builders.optimization.optimizer import FUSED, UNSUPPORTED, build_optimizer, lr_factor
from ibc_pyg.config import ModelConfig, TrainConfig
from ibc_pyg.errors import ConfigError

STEPS = 7
"""Steps per epoch."""


def curve(config: TrainConfig, epochs: int) -> list[float]:
    return [lr_factor(config, step, step / STEPS) for step in range(epochs * STEPS + 1)]


@pytest.mark.parametrize("lowest", [0.0, 0.05])
def test_cosine_equals_cosine_annealing_lr(lowest: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * STEPS, eta_min=lowest)
    expected = []
    for _ in range(5 * STEPS + 1):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    ours = curve(TrainConfig(epochs=5, schedule="cosine", lr_min_factor=lowest), 5)
    # torch goes step by step, which rounds; float64.
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cosine_decreases_continuously_to_its_minimum() -> None:
    ours = curve(TrainConfig(epochs=5, schedule="cosine", lr_min_factor=0.1), 5)
    falls = [before - after for before, after in pairwise(ours)]
    assert ours[0] == 1.0
    assert ours[-1] == pytest.approx(0.1)
    # The steepest step is that of pi / 2 per half the way.
    assert min(falls) > 0
    assert max(falls) < 0.9 * torch.pi / 2 / (5 * STEPS)


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_warm_up_is_linear(schedule: str) -> None:
    plain = TrainConfig(epochs=5, schedule=schedule, lr_milestones=[2.0])
    warm = TrainConfig(epochs=5, schedule=schedule, lr_milestones=[2.0], warmup_steps=10)
    for step, (ours, without) in enumerate(zip(curve(warm, 5), curve(plain, 5), strict=True)):
        assert ours == pytest.approx(without * min(1, (step + 1) / 10))


def test_milestones_equal_multi_step_lr() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2 * STEPS, 4 * STEPS], 0.3)
    expected = []
    for _ in range(5 * STEPS + 1):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    config = TrainConfig(epochs=5, lr_milestones=[2.0, 4.0], lr_factor=0.3)
    assert curve(config, 5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr_min_factor", -0.1),
        ("lr_min_factor", 1.5),
        ("ema_decay", 0.0),
        ("ema_decay", 1.0),
        ("freeze_backbone_epochs", -1.0),
        ("device", "cuda:x"),
        ("device", "tpu"),
    ],
)
def test_ranges(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{field} must be .*, not {value}"):
        TrainConfig(**{field: value})


def optimizer(device="cpu", **fields):
    config = ModelConfig(backbone_args={"width": 4}, embedding_dim=8, heads=2)
    model = build_model(config, num_classes=3, channels=1)
    return build_optimizer(TrainConfig(**fields), model, device=device)


def test_optimisers_of_torch_get_rate_decay_and_arguments() -> None:
    made = optimizer(
        optimizer="SGD", lr=0.1, weight_decay=0.01, backbone_lr_factor=0.5,
        optimizer_args={"momentum": 0.9, "nesterov": True},
    )  # fmt: skip
    assert type(made) is torch.optim.SGD
    assert [group["lr"] for group in made.param_groups] == [0.05, 0.1]
    for group in made.param_groups:
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.01)


def test_the_default_is_radam_with_its_decoupled_decay() -> None:
    made = optimizer(weight_decay=0.1, decoupled_weight_decay=True)
    assert type(made) is torch.optim.RAdam
    assert made.defaults["decoupled_weight_decay"]


@pytest.mark.parametrize("name", ["AdamW", "NAdam", "Adagrad", "RMSprop", "Adafactor", "ASGD"])
def test_most_optimisers_of_torch_work_by_name(name: str) -> None:
    made = optimizer(optimizer=name)
    assert type(made) is getattr(torch.optim, name)
    for group in made.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    made.step()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RAdam", "Adagrad"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_optimisers_are_fused_on_a_gpu_alone(name: str, device: str) -> None:
    made = optimizer(device, optimizer=name)
    fused = True if device == "cuda" and name in FUSED else None
    assert [group.get("fused") for group in made.param_groups] == [fused, fused]


@pytest.mark.parametrize("args", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_a_kernel_that_is_named_is_used(args: dict[str, bool]) -> None:
    for group in optimizer("cuda", optimizer="AdamW", optimizer_args=args).param_groups:
        assert args.items() <= group.items()
        assert not group["fused"]


def test_a_fused_step_does_not_clip_scaled_gradients() -> None:
    scaled = {"optimizer": "AdamW", "precision": "16-mixed", "clip_norm": 1.0}
    assert not optimizer("cuda", **scaled).param_groups[0]["fused"]
    assert optimizer("cuda", **scaled | {"clip_norm": None}).param_groups[0]["fused"]
    with pytest.raises(ConfigError, match=r"optimizer_args: fused .*train\.clip_norm"):
        optimizer("cuda", **scaled, optimizer_args={"fused": True})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optimizer": "AdamV"}, "did you mean Adam"),
        ({"optimizer": "LBFGS"}, "LBFGS is not supported: it evaluates the loss several times"),
        ({"optimizer": "load"}, "has no optimiser 'load'"),
        ({"optimizer": "SGD", "optimizer_args": {"momentun": 0.9}}, "did you mean momentum"),
        ({"optimizer": "SGD", "optimizer_args": {"lr": 0.9}}, "has no argument 'lr'"),
        ({"optimizer": "SGD", "optimizer_args": {"momentum": -1}}, "Invalid momentum"),
        ({"optimizer": "SGD", "decoupled_weight_decay": True}, "decoupled_weight_decay: SGD"),
        ({"optimizer": "Rprop", "weight_decay": 0.1}, "train.weight_decay: Rprop takes none"),
    ],
)
def test_mistakes_of_an_optimiser_are_named(fields, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        optimizer(**fields)


def test_unsupported_optimisers_exist() -> None:
    assert all(hasattr(torch.optim, name) for name in UNSUPPORTED)

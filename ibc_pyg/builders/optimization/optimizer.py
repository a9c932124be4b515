"""Optimiser and learning rates."""

from __future__ import annotations

from typing import Any

import torch

from ibc_pyg.builders.arguments import argument_errors
from ibc_pyg.builders.optimization.schedule import OwnSchedule, lr_factor
from ibc_pyg.config import TrainConfig
from ibc_pyg.errors import ConfigError, check_arguments, did_you_mean
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.sampled_classes import check_optimizer
from ibc_pyg.plugins import find_plug
from ibc_pyg.plugins.plug import described, named_arguments

UNSUPPORTED = {
    "Optimizer": "it is a base class",
    "LBFGS": "it evaluates the loss several times in a step",
    "SparseAdam": "it needs sparse gradients",
}
"""Optimisers of torch.optim that cannot be used, with the reason."""
FUSED = ("Adam", "AdamW", "SGD")
"""Optimisers of torch.optim with one fused kernel for all weights on a GPU. For the others torch's
default there is `foreach`, a few kernels for all weights."""


def build_optimizer(
    config: TrainConfig,
    model: IntraBatchModel,
    loss: IntraBatchLoss | None = None,
    *,
    device: torch.device | str = "cpu",
) -> torch.optim.Optimizer:
    """Build the optimiser with one group for the backbone, one for the heads and one per loss term.

    Args:
        config: Name, arguments and learning rates.
        model: The model.
        loss: The loss, whose terms may have weights.
        device: Where the weights will be; on a GPU those of `FUSED` are fused, unless
            `config.optimizer_args` has `fused`, `foreach` or `differentiable`.

    Raises:
        ConfigError: If its name or an argument is unknown, it does not take these parameters, or a
            fused one cannot clip scaled gradients.
    """
    backbone = list(model.backbone.parameters())
    own = {id(parameter) for parameter in backbone}
    sampled = None if loss is None else loss.sampled
    if sampled is not None:
        check_optimizer(config.optimizer)
        own |= {id(parameter) for parameter in sampled.stores}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    rest += [] if sampled is None else list(sampled.rows)
    groups: list[dict[str, Any]] = [
        {"name": "backbone", "params": backbone, "lr": config.lr * config.backbone_lr_factor},
        {"name": "heads", "params": rest, "lr": config.lr},
    ]
    for group, scale in zip(groups, (config.backbone_lr_factor, 1.0), strict=True):
        group["lr_scale"] = scale
    for term in [] if loss is None else loss.terms:
        if own_weights := list(term.parameters()):
            scale = term.lr_factor
            groups.append(
                {"name": term.name, "params": own_weights, "lr": config.lr * scale,
                 "lr_scale": scale}
            )  # fmt: skip
    return _make(config, groups, torch.device(device))


def _make(
    config: TrainConfig, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    name = config.optimizer
    if name in _names():
        return _of_torch(config, getattr(torch.optim, name), groups, device)
    plug = find_plug("optimiser", name)
    if plug is None:
        if name in UNSUPPORTED:
            raise ConfigError(f"train.optimizer: {name} is not supported: {UNSUPPORTED[name]}")
        raise ConfigError(
            f"train.optimizer: torch.optim has no optimiser {name!r}; "
            f"{did_you_mean(name, _names(), 'give its name, or FILE.py:NAME')}"
        )
    _check_decay(config, plug.target)
    if "params" not in named_arguments(plug.target):
        plug.refuse("a class with an argument params", f"{plug.name} without")
    made = plug.make(config.optimizer_args, params=groups, lr=config.lr, **_weight_decay(config))
    if not isinstance(made, torch.optim.Optimizer):
        plug.refuse(plug.kind.expected, described(made))
    if [group.get("name") for group in made.param_groups] != [group["name"] for group in groups]:
        plug.refuse("the groups it was given as param_groups", "others")
    return made


def _of_torch(
    config: TrainConfig,
    kind: type[torch.optim.Optimizer],
    groups: list[dict[str, Any]],
    device: torch.device,
) -> torch.optim.Optimizer:
    what = f"train.optimizer_args: {config.optimizer}"
    check_arguments(
        kind, config.optimizer_args, what=what, reserved=("params", "lr", "weight_decay")
    )
    _check_decay(config, kind)
    taken = named_arguments(kind)
    given = {"lr": config.lr, **_weight_decay(config)}
    supplied = {key: value for key, value in given.items() if key in taken}
    supplied |= _fused(config, device)
    with argument_errors("train.optimizer_args", config.optimizer, config.optimizer_args):
        return kind(groups, **{**supplied, **config.optimizer_args})


def _fused(config: TrainConfig, device: torch.device) -> dict[str, bool]:
    # A fused step divides the scale out itself, too late for clipping.
    clips_scaled = config.precision == "16-mixed" and config.clip_norm is not None
    if clips_scaled and config.optimizer_args.get("fused"):
        raise ConfigError(
            "train.optimizer_args: fused cannot be combined with train.clip_norm and "
            "train.precision = 16-mixed; leave one of them out"
        )
    chosen = config.optimizer_args.keys() & {"fused", "foreach", "differentiable"}
    if device.type != "cuda" or config.optimizer not in FUSED or chosen or clips_scaled:
        return {}
    return {"fused": True}


def _weight_decay(config: TrainConfig) -> dict[str, Any]:
    return {
        "weight_decay": config.weight_decay,
        "decoupled_weight_decay": config.decoupled_weight_decay,
    }


def _check_decay(config: TrainConfig, kind: Any) -> None:
    """Refuse a weight decay that would have no effect."""
    taken = named_arguments(kind)
    for name, none in (("weight_decay", "0"), ("decoupled_weight_decay", "false")):
        if getattr(config, name) and name not in taken:
            raise ConfigError(f"train.{name}: {config.optimizer} takes none; set it to {none}")


def _names() -> list[str]:
    return [
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and name not in UNSUPPORTED
    ]


def set_lr(
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    epoch: float,
    *,
    scale: float = 1.0,
    schedule: OwnSchedule | None = None,
) -> float:
    """Set the learning rate of each group and return that of the heads.

    Args:
        optimizer: The optimiser; its groups are changed.
        config: Learning rates and schedule.
        step: Number of optimiser steps done.
        epoch: Number of epochs done, including the fraction of the current one.
        scale: Further factor, from restarts after divergence.
        schedule: Schedule of the user, as `own_schedule` returns it.
    """
    factor = lr_factor(config, step, epoch, schedule)
    for group in optimizer.param_groups:
        group["lr"] = config.lr * group["lr_scale"] * factor * scale
    return config.lr * factor * scale


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each group, by the name in the metrics."""
    return {f"lr/{group['name']}": float(group["lr"]) for group in optimizer.param_groups}

"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch

from ibc_pyg.config import TrainConfig
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.model import IntraBatchModel


def build_optimizer(
    config: TrainConfig, model: IntraBatchModel, loss: IntraBatchLoss | None = None
) -> torch.optim.Optimizer:
    """Build RAdam with one group for the backbone, one for the heads and one per loss term."""
    backbone = list(model.backbone.parameters())
    own = {id(parameter) for parameter in backbone}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
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
    return torch.optim.RAdam(
        groups,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=config.decoupled_weight_decay,
    )


def set_lr(
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    epoch: float,
    *,
    scale: float = 1.0,
) -> float:
    """Set the learning rate of each group and return that of the heads; see `lr_factor`.

    Args:
        optimizer: The optimiser; its groups are changed.
        config: Learning rates and schedule.
        step: Number of optimiser steps done.
        epoch: Number of epochs done, including the fraction of the current one.
        scale: Further factor, from restarts after divergence.
    """
    factor = lr_factor(config, step, epoch)
    for group in optimizer.param_groups:
        group["lr"] = config.lr * group["lr_scale"] * factor * scale
    return config.lr * factor * scale


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each group, by the name in the metrics."""
    return {f"lr/{group['name']}": float(group["lr"]) for group in optimizer.param_groups}


def lr_factor(config: TrainConfig, step: int, epoch: float) -> float:
    """Return the factor of the learning rate.

    Args:
        config: Schedule and warm-up.
        step: Number of optimiser steps done.
        epoch: Number of epochs done, including the fraction of the current one.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        # SGDR without restarts (https://arxiv.org/abs/1608.03983, equation 5).
        share = 0.5 * (1 + math.cos(math.pi * min(epoch / config.epochs, 1.0)))
        return warm * (config.lr_min_factor + (1 - config.lr_min_factor) * share)
    passed = sum(epoch >= milestone for milestone in config.lr_milestones)
    return warm * config.lr_factor**passed

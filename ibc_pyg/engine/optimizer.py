"""The optimiser and its learning rates."""

from __future__ import annotations

import torch

from ibc_pyg.config import TrainConfig
from ibc_pyg.nn.model import IntraBatchModel


def build_optimizer(config: TrainConfig, model: IntraBatchModel) -> torch.optim.Optimizer:
    """Make RAdam with one group for the backbone and one for everything else."""
    backbone = list(model.backbone.parameters())
    own = {id(parameter) for parameter in backbone}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    groups = [
        {"name": "backbone", "params": backbone, "lr": config.lr * config.backbone_lr_factor},
        {"name": "heads", "params": rest, "lr": config.lr},
    ]
    return torch.optim.RAdam(
        groups,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=config.decoupled_weight_decay,
    )


def set_lr(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, epoch: float) -> float:
    """Set the learning rate of each group; return that of the heads. See `lr_factor`."""
    factor = lr_factor(config, step, epoch)
    for group in optimizer.param_groups:
        scale = config.backbone_lr_factor if group["name"] == "backbone" else 1.0
        group["lr"] = config.lr * scale * factor
    return config.lr * factor


def lr_factor(config: TrainConfig, step: int, epoch: float) -> float:
    """Return what the learning rate is multiplied by.

    Args:
        config: Milestones and warm-up.
        step: Optimiser steps done.
        epoch: Epochs done, with the share of the current one.
    """
    passed = sum(epoch >= milestone for milestone in config.lr_milestones)
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return warm * config.lr_factor**passed

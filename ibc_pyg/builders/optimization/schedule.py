"""Learning-rate schedules."""

from __future__ import annotations

import math

from ibc_pyg.config import TrainConfig
from ibc_pyg.config.train import SCHEDULES
from ibc_pyg.plugins import load_plug
from ibc_pyg.plugins.plug import described, named_arguments


class OwnSchedule:
    """Schedule of the user.

    Args:
        config: Name and arguments of the function.

    Raises:
        ConfigError: If it cannot be imported or made, or does not return a factor.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._plug = load_plug("schedule", config.schedule)
        self._function = self._plug.function(config.schedule_args)
        self._takes_step = "step" in named_arguments(self._function)
        self._epochs = config.epochs
        self(0, 0.0)

    def __call__(self, step: int, epoch: float) -> float:
        """Return the factor of the learning rate.

        Raises:
            ConfigError: If it is not a finite number >= 0.
        """
        more = {"step": step} if self._takes_step else {}
        with self._plug.errors():
            factor = self._function(epoch=epoch, epochs=self._epochs, **more)
        if not isinstance(factor, int | float) or not (math.isfinite(factor) and factor >= 0):
            self._plug.refuse("a factor >= 0", described(factor))
        return float(factor)


def own_schedule(config: TrainConfig) -> OwnSchedule | None:
    """Return the schedule of the user; None if the experiment uses one of this package."""
    return None if config.schedule in SCHEDULES else OwnSchedule(config)


def lr_factor(
    config: TrainConfig, step: int, epoch: float, own: OwnSchedule | None = None
) -> float:
    """Return the factor of the learning rate.

    Args:
        config: Schedule and warm-up.
        step: Number of optimiser steps done.
        epoch: Number of epochs done, including the fraction of the current one.
        own: Schedule of the user, in the place of that of `config`.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if own is not None:
        return warm * own(step, epoch)
    if config.schedule == "cosine":
        # SGDR without restarts (https://arxiv.org/abs/1608.03983, equation 5).
        share = 0.5 * (1 + math.cos(math.pi * min(epoch / config.epochs, 1.0)))
        return warm * (config.lr_min_factor + (1 - config.lr_min_factor) * share)
    passed = sum(epoch >= milestone for milestone in config.lr_milestones)
    return warm * config.lr_factor**passed

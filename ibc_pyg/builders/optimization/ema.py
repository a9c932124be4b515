"""Exponential moving average of the weights, for evaluation and for the saved model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    r"""Exponential moving average of a module's parameters and floating-point buffers.

    .. math::
        \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
        d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    with :math:`\bar\theta_0 = \theta_0` and t counted from 1. The smaller decay of the first steps,
    as in TensorFlow's `ExponentialMovingAverage`, limits the influence of the initial weights.
    Statistics of batch normalisations are averaged like weights; integers are copied.

    Args:
        module: Module to average; its current values are the initial average.
        decay: d, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in _state(module).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current values; call after each optimiser step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, value in _state(self.module).items():
            if not value.is_floating_point():
                self.values[name].copy_(value)
                continue
            averages, current = groups.setdefault(value.dtype, ([], []))
            averages.append(self.values[name])
            current.append(value)
        for averages, current in groups.values():
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average(averages, current, self.steps)

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the current values of the module."""
        for name, value in _state(self.module).items():
            self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Use the averaged values in the module within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in _state(self.module).items():
            current = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`.

        Raises:
            ValueError: If the state belongs to another model.
        """
        if state["values"].keys() != self.values.keys():
            raise ValueError("the average belongs to another model")
        self.steps = int(state["steps"])
        for name, value in self.values.items():
            value.copy_(state["values"][name])


def _state(module: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = module.state_dict()
    return state

"""A moving average of the weights, which is what is evaluated and kept."""

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

    with :math:`\bar\theta_0 = \theta_0` and t counted from 1. The rate of the first steps is that
    of TensorFlow's `ExponentialMovingAverage`: the random start is soon forgotten. Statistics of
    batch normalisations are averaged like weights, so that they are those of the averaged network;
    integers are copied.

    Args:
        module: What is averaged; its present values are the start.
        decay: d, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in _state(module).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's present values in, once an optimiser step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, value in _state(self.module).items():
            if not value.is_floating_point():
                self.values[name].copy_(value)
                continue
            averages, present = groups.setdefault(value.dtype, ([], []))
            averages.append(self.values[name])
            present.append(value)
        for averages, present in groups.values():
            average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            average(averages, present, self.steps)

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the module's present values."""
        for name, value in _state(self.module).items():
            self.values[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the averaged values for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in _state(self.module).items():
            present = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(present)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            ValueError: If it is of another module.
        """
        if state["values"].keys() != self.values.keys():
            raise ValueError("the average is of another model")
        self.steps = int(state["steps"])
        for name, value in self.values.items():
            value.copy_(state["values"][name])


def _state(module: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = module.state_dict()
    return state

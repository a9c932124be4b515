"""Detection of NaN and Inf during training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ibc_pyg.data.loading.batch import Batch
from ibc_pyg.parallel.precision import gradient_scaler
from ibc_pyg.parallel.processes import all_gather_tensors
from ibc_pyg.training.experiment import Experiment
from ibc_pyg.training.monitor.statistics import gradient_norms

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})

SMALLEST_SCALE = 2.0**-14
"""Smallest scale of 16-bit gradients, which halves at each step with infinite gradients: reached
after thirty such steps in a row."""


@dataclass(frozen=True)
class TakenStep:
    """An optimiser step that may not have been checked yet.

    Attributes:
        number: Number of the step, from 1.
        lr: Learning rate of the heads.
        values: Losses and gradient norm, detached scalars, by their names in the records.
        rows: Rows of its images in the table of training images, int64 `[B]`.
    """

    number: int
    lr: float
    values: Mapping[str, Tensor]
    rows: Tensor


class DivergenceError(Exception):
    """A loss, a gradient, a weight or a descriptor is not finite.

    Attributes:
        what: The quantity that is not finite.
        step: Step of the divergence.
        values: Losses and gradient norms of the step.
    """

    def __init__(self, what: str, step: TakenStep, values: Mapping[str, float]) -> None:
        super().__init__(f"{what} at step {step.number} (learning rate {step.lr:.2e})")
        self.what, self.step, self.values = what, step, dict(values)


class DivergenceMonitor:
    """Checks steps for NaN and Inf, with one device synchronisation for all steps since the last.

    Args:
        fabric: Owner of the gradient scaler.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._scaler = gradient_scaler(fabric)
        self._pending: list[TakenStep] = []
        self.last: TakenStep | None = None

    def observe(self, number: int, lr: float, values: Mapping[str, Tensor], batch: Batch) -> None:
        """Add a step, without synchronisation."""
        self.last = TakenStep(number, lr, values, batch.rows)
        self._pending.append(self.last)

    def check(self, beside: Mapping[str, Tensor] = _NOTHING) -> dict[str, float]:
        """Return the values of the newest step as numbers.

        Args:
            beside: Scalars that are read in the same synchronisation, and returned unchecked.

        Raises:
            DivergenceError: At the first step since the last check with a value that is not finite.
                Values are means over all processes, so each process finds the same step.
        """
        steps, self._pending = self._pending, []
        of_steps = [value for step in steps for value in step.values.values()]
        joined = torch.stack([*of_steps, *(value.float() for value in beside.values())])  # [V]
        numbers = iter(joined.tolist())
        table = [dict(zip(step.values, numbers, strict=False)) for step in steps]
        for step, values in zip(steps, table, strict=True):
            if not all(map(math.isfinite, values.values())):
                raise DivergenceError(_first_bad(values), step, values)
        if self._scaler is not None and self._scaler.get_scale() < SMALLEST_SCALE:
            raise DivergenceError(
                "the gradient is not finite, in 16-bit floats,", steps[-1], table[-1]
            )
        return table[-1] | dict(zip(beside, numbers, strict=True))

    def check_state(self, experiment: Experiment) -> None:
        """Check weights and optimiser state, before they are evaluated or saved.

        Raises:
            DivergenceError: If a number is not finite.
        """
        tensors = [tensor for tensor in _state(experiment) if tensor.is_floating_point()]
        finite = torch.stack([tensor.isfinite().all().to(tensors[0].device) for tensor in tensors])
        if self.last is not None and not bool(finite.all()):
            raise DivergenceError("a weight is not finite", self.last, {})

    def check_descriptors(self, vectors: Tensor) -> None:
        """Check descriptors, `[M, D]`.

        Raises:
            DivergenceError: If one is not finite.
        """
        if self.last is not None and not bool(vectors.isfinite().all()):
            raise DivergenceError("a descriptor is not finite", self.last, {})


def describe_divergence(
    experiment: Experiment, error: DivergenceError, good: Path | None, *, newest: int
) -> dict[str, Any]:
    """Return the record of a divergence; all processes must call it together.

    Args:
        experiment: Has the gradients of the newest step.
        error: The divergence.
        good: Last good checkpoint.
        newest: Number of the newest step.
    """
    step, table, rows = error.step, experiment.data.table, experiment.data.splits.train
    names = [int(rows[row]) for row in all_gather_tensors(step.rows).tolist()]
    parts: Mapping[str, float] = {}
    if step.number == newest:
        # Later steps have overwritten the gradients.
        found = gradient_norms(experiment.model, experiment.loss)
        parts = {name: float(value) for name, value in found.items()}
    return {
        "what": error.what,
        "step": step.number,
        "epoch": experiment.sampler.epoch,
        "lr": step.lr,
        "values": {name: _plain(value) for name, value in error.values.items()},
        "grad_norms": {name: _plain(value) for name, value in parts.items()},
        "last_good_checkpoint": None if good is None else str(good),
        "files": [table.paths[row] for row in names],
        "labels": [table.class_names[table.labels[row]] for row in names],
    }


def _first_bad(values: Mapping[str, float]) -> str:
    for name, value in values.items():
        if not math.isfinite(value):
            what = {"train/loss": "the loss", "train/grad_norm": "the norm of the gradient"}
            return f"{what.get(name, name)} is {value}"
    raise ValueError("all values are finite")


def _plain(value: float) -> float | str:
    """Return a JSON number, or the name of NaN or an infinity."""
    return value if math.isfinite(value) else str(value)


def _state(experiment: Experiment) -> Iterator[Tensor]:
    yield from _tensors(experiment.model.state_dict())
    yield from _tensors(experiment.loss.state_dict())
    yield from _tensors(experiment.optimizer.state_dict()["state"])


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)

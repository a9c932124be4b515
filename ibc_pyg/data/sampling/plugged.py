"""Samplers of the user."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.sampling.base import PKSampler, SamplerSettings
from ibc_pyg.data.table import Rows
from ibc_pyg.plugins import Plug
from ibc_pyg.plugins.plug import described

if TYPE_CHECKING:
    from ibc_pyg.plugins.protocols import PlansBatches


class PlannedSampler(PKSampler):
    """Sampler whose plan of an epoch is computed by a function of the user.

    Args:
        labels: Class of each row, int `[M]`.
        settings: Batch shape, seed and share of this process.
        plug: Where the function comes from.
        function: Returns the rows of all batches of an epoch.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.integer],
        settings: SamplerSettings,
        plug: Plug,
        function: PlansBatches,
    ) -> None:
        super().__init__(labels, settings)
        self._labels = np.asarray(labels, dtype=np.int64)
        self._plug, self._function = plug, function
        self._fingerprint = zlib.crc32(plug.name.encode(), self._fingerprint)

    def make_plan(self, rng: np.random.Generator) -> Rows:
        """Return the rows of all global batches of an epoch, int64 `[steps, P * K]`.

        Raises:
            ConfigError: If the function fails or returns something else.
        """
        settings = self.settings
        with self._plug.errors():
            plan = np.asarray(
                self._function(
                    self._labels.copy(), settings.classes_per_batch, settings.images_per_class, rng
                )
            )
        expected = f"integer rows [steps, {self.batch_size}]"
        if not np.issubdtype(plan.dtype, np.integer) or plan.ndim != 2:
            self._plug.refuse(expected, described(plan))
        if len(plan) < 1 or plan.shape[1] != self.batch_size:
            self._plug.refuse(expected, described(plan))
        if plan.min() < 0 or plan.max() >= len(self._labels):
            self._plug.refuse(
                f"rows from 0 to {len(self._labels) - 1}", f"{plan.min()} to {plan.max()}"
            )
        return plan.astype(np.int64)


def make_plugged(
    plug: Plug,
    args: Mapping[str, Any],
    labels: npt.NDArray[np.integer],
    settings: SamplerSettings,
) -> PKSampler:
    """Make a sampler of the user, and plan its first epoch.

    Args:
        plug: A subclass of `PKSampler`, or a function or class for `PlannedSampler`.
        args: Arguments of the class or function.
        labels: Class of each row, int `[M]`.
        settings: Batch shape, seed and share of this process.

    Raises:
        ConfigError: If it cannot be made, or its plan is no plan.
    """
    target = plug.target
    if isinstance(target, type) and issubclass(target, PKSampler):
        sampler: PKSampler = plug.make(args, labels=labels, settings=settings)
    else:
        sampler = PlannedSampler(labels, settings, plug, plug.function(args))
    with plug.errors():
        plan = np.asarray(sampler.plan(0))
    if plan.ndim != 2 or plan.shape[1] != sampler.batch_size:
        plug.refuse(f"rows [steps, {sampler.batch_size}]", described(plan))
    return sampler

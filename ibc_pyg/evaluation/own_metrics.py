"""Metrics of the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.errors import ConfigError
from ibc_pyg.metrics.names import OWN
from ibc_pyg.plugins import Plug, load_plug
from ibc_pyg.plugins.plug import described, named_arguments

_CLASSES, _IMAGES, _WIDTH = 3, 4, 8


def own_metrics(
    names: Sequence[str],
    descriptors: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
) -> dict[str, float]:
    """Compute the metrics of the user.

    Args:
        names: References to functions, which are imported, or entry points.
        descriptors: Unit-norm float32 `[N, D]`.
        labels: Class numbers, int64 `[N]`.
        gallery: Unit-norm float32 `[M, D]` that is searched; None searches the others of
            `descriptors`.
        gallery_labels: int64 `[M]`, with `gallery`.

    Returns:
        Values by `own/NAME`, of a mapping by `own/KEY`.

    Raises:
        ConfigError: If a function fails, does not take the gallery, returns no finite numbers, or
            two have one name.
    """
    found: dict[str, float] = {}
    for name in names:
        plug = load_plug("metric", name)
        function = plug.function({})
        more: dict[str, Any] = {}
        if gallery is not None:
            more = {"gallery": gallery, "gallery_labels": gallery_labels}
            if not more.keys() <= named_arguments(function):
                plug.refuse(
                    "arguments gallery and gallery_labels, which the data set has",
                    "none of them",
                )
        with plug.errors():
            value = function(descriptors, labels, **more)
        for key, number in _numbers(plug, value).items():
            if key in found:
                raise ConfigError(f"evaluate.metrics: two metrics are named {key!r}; rename one")
            found[key] = number
    return found


def check_metrics(names: Sequence[str], *, separate: bool) -> None:
    """Compute the metrics of the user for random descriptors, before anything is trained.

    Args:
        names: See `own_metrics`.
        separate: Whether queries search a separate gallery.

    Raises:
        ConfigError: See `own_metrics`.
    """
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(_CLASSES).repeat_interleave(_IMAGES)  # [N]
    vectors = [
        F.normalize(torch.randn(len(labels), _WIDTH, generator=draws), dim=-1)  # [N, D]
        for _ in range(2)
    ]
    gallery = (vectors[1], labels.clone()) if separate else (None, None)
    own_metrics(names, vectors[0], labels, *gallery)


def _numbers(plug: Plug, value: object) -> dict[str, float]:
    values = value if isinstance(value, Mapping) else {plug.name: value}
    found = {}
    for key, each in values.items():
        number = each.item() if isinstance(each, Tensor) and each.numel() == 1 else each
        if not isinstance(number, Real) or not math.isfinite(number):
            plug.refuse("a finite number or a mapping of them", described(number))
        found[f"{OWN}{key}"] = float(number)
    return found

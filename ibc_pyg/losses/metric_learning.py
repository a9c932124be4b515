"""Losses and miners of pytorch-metric-learning, by name.

Names, arguments and defaults are those of the library, an optional dependency that is imported when
it is used.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, did_you_mean
from ibc_pyg.losses.arguments import check_mapping, make_from_arguments
from ibc_pyg.losses.plugged import PluggedMiner
from ibc_pyg.losses.term import TermInput
from ibc_pyg.plugins import find_plug

UNSUPPORTED = {
    "BaseMetricLossFunction": "it is a base class",
    "BaseLossWrapper": "it is a base class",
    "GenericPairLoss": "it is a base class",
    "MultipleLosses": "list the losses under loss.terms instead",
    "SelfSupervisedLoss": "it needs two views of each image",
    "VICRegLoss": "it needs two views of each image",
    "EmbeddingRegularizerMixin": "it is a base class",
    "WeightRegularizerMixin": "it is a base class",
    "ManifoldLoss": "it takes no labels",
    "CrossBatchMemory": "its memory is not part of a checkpoint, so a resumed run would differ",
    "DynamicSoftMarginLoss": "its histogram is not part of a checkpoint, so a resumed run would "
    "differ",
    "EmbeddingsAlreadyPackagedAsTriplets": "a batch is not a list of triplets",
    "BaseMiner": "it is a base class",
    "HistogramLoss": "it indexes a matrix by a list of two lists, which torch no longer takes for "
    "rows and columns",
}
"""Classes of the library that cannot be a term, with the reason."""

_PARTS = ("distances", "reducers", "regularizers", "losses")


class MetricLearningLoss(nn.Module):
    """A loss of the library, optionally with a miner.

    Args:
        loss: Called with features, labels and the output of the miner.
        miner: Called with features and labels; None uses the default pairs of the loss.
    """

    def __init__(self, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    def forward(self, inputs: TermInput) -> Tensor:
        """Return the loss of one batch."""
        mined = None if self.miner is None else self.miner(inputs.features, inputs.labels)
        value: Tensor = self.loss(inputs.features, inputs.labels, mined)
        return value


def loss_names() -> list[str]:
    """Return the names of the library's losses that can be a term."""
    return _names(_library("losses"))


def make_metric_learning_loss(
    name: str,
    args: Mapping[str, Any],
    miner: str | None,
    miner_args: Mapping[str, Any],
    *,
    num_classes: int,
    embedding_size: int,
) -> MetricLearningLoss:
    """Make a loss of the library.

    Args:
        name: Name of its class.
        args: Arguments of the loss; num_classes and embedding_size are supplied if it has them. A
            value `{name: ..., args: {...}}` is a distance, reducer or regularizer of the library.
        miner: Name of a miner, as `make_miner` takes it, or None.
        miner_args: Arguments of the miner.
        num_classes: Number C of training classes.
        embedding_size: Width D of the features.

    Raises:
        ConfigError: If the library is missing, or a name or an argument is unknown.
    """
    kind = _find("losses", name)
    sizes = {
        "num_classes": num_classes,
        "embedding_size": embedding_size,
        "descriptors_dim": embedding_size,  # its name in P2SGradLoss
    }
    loss = _make(kind, args, sizes)
    _own_tensors(loss)
    return MetricLearningLoss(loss, None if miner is None else make_miner(miner, miner_args))


def make_miner(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Make a miner of the library or of the user.

    Args:
        name: Name of its class, or a reference to code of the user, which is imported.
        args: Its arguments.

    Raises:
        ConfigError: If the library is missing, or the name or an argument is unknown.
    """
    plug = find_plug("miner", name)
    if plug is not None:
        return PluggedMiner(plug, args)
    miner = _make(_find("miners", name), args)
    _own_tensors(miner)
    return miner


def _own_tensors(module: nn.Module) -> None:
    """Make plain tensors of a module and its parts buffers, which move to the GPU with it."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                delattr(part, name)
                part.register_buffer(name, value, persistent=False)


def _library(part: str) -> ModuleType:
    try:
        import pytorch_metric_learning.losses
        import pytorch_metric_learning.miners
    except ImportError as error:
        raise ConfigError(
            "loss.terms: a loss of pytorch-metric-learning needs that library: "
            "pip install pytorch-metric-learning"
        ) from error
    module: ModuleType = getattr(pytorch_metric_learning, part)
    return module


def _names(module: ModuleType) -> list[str]:
    classes = inspect.getmembers(module, inspect.isclass)
    return [
        name for name, kind in classes if issubclass(kind, nn.Module) and name not in UNSUPPORTED
    ]


def _find(part: str, name: str) -> type[nn.Module]:
    if name in UNSUPPORTED:
        raise ConfigError(f"loss.terms: {name} is not supported: {UNSUPPORTED[name]}")
    module = _library(part)
    names = _names(module)
    if name not in names:
        kind_of_class = {"losses": "loss", "miners": "miner"}[part]
        raise ConfigError(
            f"loss.terms: pytorch-metric-learning has no {kind_of_class} {name!r}; "
            f"{did_you_mean(name, names)}"
        )
    kind: type[nn.Module] = getattr(module, name)
    return kind


def _make(
    kind: type[nn.Module], args: Mapping[str, Any], sizes: Mapping[str, int] | None = None
) -> nn.Module:
    return make_from_arguments(kind, {key: _part(value) for key, value in args.items()}, sizes)


def _part(value: Any) -> Any:
    """Make the part of a loss that `{name: ..., args: {...}}` describes; return other values."""
    if not isinstance(value, dict) or "name" not in value:
        return value
    if unknown := sorted(map(str, set(value) - {"name", "args"})):
        raise ConfigError(
            f"loss.terms: {value['name']} has {unknown[0]!r} beside it; a part is given as "
            "{name: ..., args: {...}}"
        )
    for part in _PARTS:
        module = importlib.import_module(f"pytorch_metric_learning.{part}")
        if value["name"] in _names(module):
            kind: type[nn.Module] = getattr(module, value["name"])
            return _make(kind, check_mapping(value["name"], value.get("args", {})))
    raise ConfigError(
        f"loss.terms: pytorch-metric-learning has no distance, reducer or regularizer "
        f"{value['name']!r}"
    )

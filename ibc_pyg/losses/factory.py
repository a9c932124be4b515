"""Further terms of the loss by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.arguments import make_from_arguments
from ibc_pyg.losses.batch_hard import BatchHardTripletLoss
from ibc_pyg.losses.center import CenterLoss
from ibc_pyg.losses.distillation import FeatureDistillation, SoftTargetDistillation
from ibc_pyg.losses.focal import FocalLoss
from ibc_pyg.losses.metric_learning import make_metric_learning_loss
from ibc_pyg.losses.smoke_test import try_out

OWN: Mapping[str, type[nn.Module]] = {
    each.__name__: each
    for each in (
        FocalLoss,
        CenterLoss,
        BatchHardTripletLoss,
        SoftTargetDistillation,
        FeatureDistillation,
    )
}
"""The terms that the released code offers besides the cross-entropies."""

DISTILLATION = (SoftTargetDistillation, FeatureDistillation)
"""Those that need a teacher."""


def make_loss(
    name: str,
    args: Mapping[str, Any],
    miner: str | None,
    miner_args: Mapping[str, Any],
    *,
    num_classes: int,
    embedding_size: int,
) -> nn.Module:
    """Make the loss called `name`, one of `OWN` or of pytorch-metric-learning.

    Args:
        name: Its class.
        args: Its arguments.
        miner: A miner of pytorch-metric-learning; None without.
        miner_args: Arguments of the miner.
        num_classes: C of the training classes.
        embedding_size: D of the features.

    Returns:
        A module called with a `TermInput`.

    Raises:
        ConfigError: If a name or an argument is unknown or out of range, or the loss cannot be
            computed.
    """
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    loss: nn.Module
    if name in OWN:
        if miner is not None:
            raise ConfigError(f"loss.terms: {name} takes no miner; leave {miner} out")
        loss = make_from_arguments(OWN[name], args, sizes)
    else:
        loss = make_metric_learning_loss(name, args, miner, miner_args, **sizes)
    try_out(name, loss, **sizes)
    return loss

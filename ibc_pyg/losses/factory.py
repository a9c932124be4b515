"""Further terms of the loss, by name."""

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
from ibc_pyg.losses.metric_learning import make_metric_learning_loss, make_miner
from ibc_pyg.losses.plugged import PluggedLoss
from ibc_pyg.losses.smoke_test import try_out
from ibc_pyg.plugins import find_plug

BUILTIN: Mapping[str, type[nn.Module]] = {
    each.__name__: each
    for each in (
        FocalLoss,
        CenterLoss,
        BatchHardTripletLoss,
        SoftTargetDistillation,
        FeatureDistillation,
    )
}
"""Terms of the released code besides the cross-entropies."""

DISTILLATION = (SoftTargetDistillation, FeatureDistillation)
"""Terms that need a teacher."""


def make_loss(
    name: str,
    args: Mapping[str, Any],
    miner: str | None,
    miner_args: Mapping[str, Any],
    *,
    num_classes: int,
    embedding_size: int,
) -> nn.Module:
    """Make the loss `name`: of `BUILTIN`, of the user, or of pytorch-metric-learning.

    Args:
        name: Name of its class, or a reference to code of the user, which is imported.
        args: Arguments of the loss.
        miner: Class name of a miner of pytorch-metric-learning, a reference, or None.
        miner_args: Arguments of the miner.
        num_classes: Number C of training classes.
        embedding_size: Width D of the features.

    Returns:
        A module called with a `TermInput`.

    Raises:
        ConfigError: If a name or an argument is unknown or out of range, or the loss cannot be
            computed.
    """
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    loss: nn.Module
    if name in BUILTIN:
        if miner is not None:
            raise ConfigError(f"loss.terms: {name} takes no miner; omit {miner}")
        loss = make_from_arguments(BUILTIN[name], args, sizes)
    else:
        plug = find_plug("loss", name)
        if plug is None:
            loss = make_metric_learning_loss(name, args, miner, miner_args, **sizes)
        else:
            mining = None if miner is None else make_miner(miner, miner_args)
            loss = PluggedLoss(plug, args, mining, **sizes)
    try_out(name, loss, **sizes)
    return loss

"""Which parts of the backbone are trained when."""

from __future__ import annotations

from ibc_pyg.config import Config
from ibc_pyg.nn.freezing import body_of, check_parts
from ibc_pyg.nn.model import IntraBatchModel


def set_frozen(model: IntraBatchModel, config: Config, epoch: float) -> None:
    """Freeze what `config` wants frozen now, and unfreeze the rest of the backbone.

    It depends on `epoch` alone, so that a run which is resumed does the same.

    Args:
        model: Changed in place.
        config: `model.freeze` and `train.freeze_backbone_epochs`.
        epoch: Epochs done, with the share of the current one.

    Raises:
        ConfigError: If the backbone has no such part.
    """
    parts = tuple(config.model.freeze)
    if epoch < config.train.freeze_backbone_epochs:
        parts += body_of(model.backbone)
    if parts != model.frozen:
        check_parts(model.backbone, config.model.freeze)
        model.freeze(parts)

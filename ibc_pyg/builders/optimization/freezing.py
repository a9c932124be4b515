"""Schedule of frozen parts of the backbone."""

from __future__ import annotations

from ibc_pyg.config import Config
from ibc_pyg.nn.freezing import body_of, check_parts
from ibc_pyg.nn.model import IntraBatchModel


def set_frozen(model: IntraBatchModel, config: Config, epoch: float) -> None:
    """Freeze the parts of the backbone that are frozen at this epoch, and unfreeze the others.

    The result depends on `epoch` only, so that a resumed run freezes the same parts.

    Args:
        model: The model, which is changed in place.
        config: `model.freeze` and `train.freeze_backbone_epochs`.
        epoch: Number of epochs done, including the fraction of the current one.

    Raises:
        ConfigError: If the backbone has no such part.
    """
    parts = tuple(config.model.freeze)
    if epoch < config.train.freeze_backbone_epochs:
        parts += body_of(model.backbone)
    if parts != model.frozen:
        check_parts(model.backbone, config.model.freeze)
        model.freeze(parts)

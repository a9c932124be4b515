"""torchvision's networks by name, with weights from a local file or by torchvision's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torchvision.models as tv
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.backbones.torchvision_networks import CLASSIFIERS, VisionBackbone
from ibc_pyg.nn.weights import fit_backbone_weights, read_backbone_weights

OWN_ARGS = ("pooling", "grid", "last_stride", "bn_eps")
"""Arguments of `VisionBackbone`; all others go to torchvision's network."""

FAMILIES = re.compile(
    r"(wide_)?resnet|resnext|densenet|mobilenet_v[23]|efficientnet|convnext|swin_[tsb]|vit"
)

# DenseNet's published files carry names such as norm.1, which no module can have.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def vision_names() -> list[str]:
    """Return the names of torchvision's networks that can be backbones."""
    return [name for name in tv.list_models(module=tv) if FAMILIES.match(name)]


def make_vision(
    name: str, in_channels: int, embedding_dim: int, weights: str | None, args: Mapping[str, Any]
) -> nn.Module:
    """Make a torchvision network with an embedding.

    Args:
        name: One of `vision_names()`.
        in_channels: 3, or 1 for grey images.
        embedding_dim: D.
        weights: A local file with torchvision's key names (a classifier in it is passed over),
            or with the names of a whole `VisionBackbone`; or a name of torchvision's, such as
            'IMAGENET1K_V1', or 'pretrained' for the ones that torchvision recommends.
        args: Arguments of `VisionBackbone` and of torchvision's network, such as `width_mult`.

    Raises:
        ConfigError: If the weights do not fit, or cannot be had.
        ValueError, TypeError: If an argument is unknown or out of range.

    """
    own = {key: value for key, value in args.items() if key in OWN_ARGS}
    others = {key: value for key, value in args.items() if key not in OWN_ARGS}
    model = tv.get_model(name, weights=None, **others)
    state = None if weights is None else find_weights(name, weights)
    whole = state is not None and any(key.startswith("body.") for key in state)
    if state is not None and not whole:
        fit_backbone_weights(model, state, str(weights), fresh=fresh_names(model))
    backbone = VisionBackbone(model, embedding_dim, in_channels=in_channels, **own)
    if state is not None and whole:
        fit_backbone_weights(backbone, state, str(weights))
    return backbone


def fresh_names(model: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names that belong to a network's classifier."""
    if isinstance(model, tv.ConvNeXt):  # classifier.0 normalises what the embedding reads
        return ("classifier.2.",)
    return CLASSIFIERS


def find_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return weights by torchvision's name or from a local file.

    Raises:
        ConfigError: If there is neither, or the download fails.

    """
    published = tv.get_model_weights(name)
    weights = "DEFAULT" if weights == "pretrained" else weights
    if weights != "DEFAULT" and weights not in published.__members__:
        try:
            return read_backbone_weights(weights)
        except ConfigError as error:
            names = ", ".join(published.__members__)
            raise ConfigError(f"{error} (names that torchvision knows: {names})") from error
    entry = published[weights] if weights in published.__members__ else published.DEFAULT
    try:
        state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"model.weights: {weights} could not be fetched from {entry.url} "
            f"({first_line(error)}); download it elsewhere and name the file"
        ) from error
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}

"""Backbones by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ibc_pyg.errors import ConfigError, first_line
from ibc_pyg.nn.backbones.residual import SmallResNet
from ibc_pyg.nn.backbones.small import ConvNet
from ibc_pyg.nn.backbones.timm_networks import PREFIX, PRETRAINED, make_timm
from ibc_pyg.nn.backbones.torchvision_factory import make_vision, vision_names
from ibc_pyg.nn.weights import fit_backbone_weights, read_backbone_weights

SMALL: dict[str, Callable[..., nn.Module]] = {
    "conv4": partial(ConvNet, depth=4),
    "resnet6": partial(SmallResNet, widths=(64, 128)),
}
"""Networks of ours, for small pictures; there are no published weights."""


def backbone_names() -> list[str]:
    """Return the names that `make_backbone` knows beside `timm:NAME`."""
    return sorted(SMALL) + vision_names()


def make_backbone(
    name: str,
    embedding_dim: int,
    *,
    in_channels: int = 3,
    weights: str | None = None,
    **args: Any,
) -> nn.Module:
    """Make the backbone called `name`.

    Args:
        name: One of `backbone_names()`, or `timm:NAME` for a network of timm.
        embedding_dim: D, width of an embedding.
        in_channels: Colour channels of the images.
        weights: A local file (`.safetensors`, or torch's format), for torchvision's models a name
            of theirs such as 'IMAGENET1K_V2', for these and timm's 'pretrained', the weights that
            the package recommends. None draws the weights at random.
        **args: Further arguments of the backbone.

    Returns:
        A module that maps images `[B, C, H, W]` to raw embeddings `[B, D]`.

    Raises:
        ConfigError: If the name or an argument is unknown, a value is out of range, or the
            weights do not fit.

    """
    if name not in backbone_names() and not name.startswith(PREFIX):
        near = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"choose one of {backbone_names()}, or timm:NAME"
        )
        raise ConfigError(f"model.backbone: there is no backbone {name!r}; {hint}")
    try:
        if name.startswith(PREFIX):
            name = name.removeprefix(PREFIX)
            return make_timm(name, in_channels, embedding_dim, weights, args)
        if name not in SMALL:
            return make_vision(name, in_channels, embedding_dim, weights, args)
        make = SMALL[name]
        known = set(inspect.signature(make).parameters) - {"in_channels", "embedding_dim"}
        if unknown := sorted(set(args) - known):
            raise ValueError(f"there is no argument {unknown[0]!r}; there are {sorted(known)}")
        backbone = make(in_channels, embedding_dim, **args)
    except ConfigError:
        raise
    except (ValueError, TypeError, AssertionError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(f"model.backbone_args: {name}: {first_line(error)}") from error
    if weights == PRETRAINED:
        raise ConfigError(
            f"model.weights: nobody publishes weights of {name}; name a file, or set it to none"
        )
    if weights is not None:
        fit_backbone_weights(backbone, read_backbone_weights(weights), weights)
    return backbone

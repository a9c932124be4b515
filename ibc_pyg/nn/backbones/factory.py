"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from ibc_pyg.errors import ConfigError, check_arguments, did_you_mean, first_line
from ibc_pyg.nn.backbones.published import PRETRAINED
from ibc_pyg.nn.backbones.residual import SmallResNet
from ibc_pyg.nn.backbones.small import ConvNet
from ibc_pyg.nn.backbones.timm_backbone import PREFIX, make_timm
from ibc_pyg.nn.backbones.torchvision_backbone import make_torchvision, torchvision_names
from ibc_pyg.nn.weights import fit_backbone_weights, read_backbone_weights
from ibc_pyg.plugins import find_plug
from ibc_pyg.plugins.plug import described

BUILTIN: dict[str, Callable[..., nn.Module]] = {
    "conv4": partial(ConvNet, depth=4),
    "resnet6": partial(SmallResNet, widths=(64, 128)),
}
"""Networks of this package, for small images; they have no published weights."""


def backbone_names() -> list[str]:
    """Return the names that `make_backbone` knows besides `timm:NAME`."""
    return sorted(BUILTIN) + torchvision_names()


def make_backbone(
    name: str,
    embedding_dim: int,
    *,
    in_channels: int = 3,
    weights: str | None = None,
    **args: Any,
) -> nn.Module:
    """Make the backbone `name`.

    Args:
        name: One of `backbone_names()`; `timm:NAME` for a network of timm; or a reference to
            code of the user, which is imported.
        embedding_dim: Width D of an embedding.
        in_channels: Colour channels of the images.
        weights: A local file (`.safetensors`, or `torch.save` format); for torchvision a name such
            as 'IMAGENET1K_V2'; for torchvision and timm 'pretrained', the weights that the library
            recommends. None initialises at random.
        **args: Further arguments of the backbone.

    Returns:
        A module that maps images `[B, C, H, W]` to raw embeddings `[B, D]`.

    Raises:
        ConfigError: If the name or an argument is unknown, a value is out of range, or the
            weights do not fit.
    """
    names = backbone_names()
    if name not in names and not name.startswith(PREFIX):
        if (plug := find_plug("backbone", name)) is not None:
            backbone = plug.make(args, in_channels=in_channels, embedding_dim=embedding_dim)
            if not isinstance(backbone, nn.Module):
                plug.refuse(plug.kind.expected, described(backbone))
            if any(isinstance(each, UninitializedParameter) for each in backbone.parameters()):
                plug.refuse("layers of known sizes", "lazy ones")
            return _with_weights(name, backbone, weights)
        otherwise = f"choose one of {', '.join(names)}, timm:NAME or FILE.py:NAME"
        hint = did_you_mean(name, names, otherwise)
        raise ConfigError(f"model.backbone: there is no backbone {name!r}; {hint}")
    try:
        if name.startswith(PREFIX):
            name = name.removeprefix(PREFIX)
            return make_timm(name, in_channels, embedding_dim, weights, args)
        if name not in BUILTIN:
            return make_torchvision(name, in_channels, embedding_dim, weights, args)
        make = BUILTIN[name]
        reserved = ("in_channels", "embedding_dim")
        check_arguments(make, args, what=f"model.backbone_args: {name}", reserved=reserved)
        backbone = make(in_channels, embedding_dim, **args)
    except ConfigError:
        raise
    except (ValueError, TypeError, AssertionError, ArithmeticError, RuntimeError) as error:
        raise ConfigError(f"model.backbone_args: {name}: {first_line(error)}") from error
    return _with_weights(name, backbone, weights)


def _with_weights(name: str, backbone: nn.Module, weights: str | None) -> nn.Module:
    if weights == PRETRAINED:
        raise ConfigError(
            f"model.weights: there are no published weights of {name}; name a file, or set it to "
            "none"
        )
    if weights is not None:
        fit_backbone_weights(backbone, read_backbone_weights(weights), weights)
    return backbone

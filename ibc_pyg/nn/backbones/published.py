"""Networks with published weights as backbones, common to torchvision and timm."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ibc_pyg.nn.checks import check_at_least
from ibc_pyg.nn.weights import fit_backbone_weights

PRETRAINED = "pretrained"
"""Value of `model.weights` for the weights that a library recommends."""


class PublishedBackbone(nn.Module):
    """A network without its classifier, and a linear layer; subclasses give its features.

    Args:
        embedding_dim: Width D of an embedding.
        in_channels: 3, or 1 for grey images, which are repeated for all three input channels.

    Shapes:
        - **input:** images :math:`(B, C, H, W)`
        - **output:** raw embeddings :math:`(B, D)`

    Raises:
        ValueError: If a value is out of range.
    """

    embedding: nn.Module

    def __init__(self, embedding_dim: int, in_channels: int) -> None:
        super().__init__()
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels must be 1 or 3, not {in_channels}")
        check_at_least(1, embedding_dim=embedding_dim)

    def features(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to feature vectors `[B, F]`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, C, H, W]`, C = 1 or 3, to raw embeddings `[B, D]`."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)  # [B, 3, H, W]
        embeddings: Tensor = self.embedding(self.features(images))  # [B, D]
        return embeddings


def split_args(
    kind: type[PublishedBackbone], args: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide arguments into those of the backbone class and those of the library's network."""
    own = set(inspect.signature(kind).parameters) - {"model", "embedding_dim", "in_channels"}
    return (
        {key: value for key, value in args.items() if key in own},
        {key: value for key, value in args.items() if key not in own},
    )


def make_published(
    kind: Callable[..., PublishedBackbone],
    model: nn.Module,
    state: Mapping[str, Tensor] | None,
    source: str | None,
    *,
    fresh: tuple[str, ...],
    **args: Any,
) -> nn.Module:
    """Make a backbone from a library's network, and load weights into one of the two.

    Args:
        kind: Class of the backbone.
        model: Network of the library.
        state: Weights with the library's key names, or with those of the whole backbone; None
            keeps the initial weights.
        source: File or name of the weights, for messages.
        fresh: Prefixes of the keys of the library's classifier, which are ignored.
        **args: Arguments of `kind`.

    Raises:
        ConfigError: If the weights do not fit.
        ValueError: If an argument is out of range.
    """
    whole = state is not None and any(key.startswith("body.") for key in state)
    if state is not None and not whole:
        fit_backbone_weights(model, state, str(source), fresh=fresh)
    backbone = kind(model, **args)
    if state is not None and whole:
        fit_backbone_weights(backbone, state, str(source))
    return backbone


def set_bn_eps(model: nn.Module, eps: float | None) -> None:
    """Set the epsilon of every batch normalisation; None changes nothing.

    Raises:
        ValueError: If it is not above zero.
    """
    if eps is None:
        return
    if eps <= 0:
        raise ValueError(f"bn_eps must be > 0, not {eps}")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps

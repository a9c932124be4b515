"""Configuration of the message passing network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ibc_pyg.nn.checks import check_at_least, check_rate


@dataclass(frozen=True)
class MPNConfig:
    """Sizes and switches of an `MPN`.

    Attributes:
        channels: Width C of the input embeddings.
        steps: Number of message passing steps.
        heads: Number of attention heads; with `IntraBatchConv` a divisor of
            `channels // reduction`.
        conv: Graph layer, by a name that `make_conv` knows.
        conv_args: Further arguments of the layer's constructor.
        null_node: Softmax-plus-one in `IntraBatchConv`.
        self_loops: Whether the complete graph has self-loops.
        fuse: Use the dense twin of a PyG layer on complete graphs, if there is one.
        first_linear: Put a linear layer before the first step.
        reduction: Factor by which the first linear layer divides the width; a divisor of
            `channels`.
        mlp: Whether a step has an MLP: two linear layers with ReLU between them.
        mlp_ratio: Hidden width of the MLP as a multiple of the width.
        residual_conv: Residual connection around the graph layer.
        residual_mlp: Residual connection around the MLP.
        norm_conv: LayerNorm after the graph layer.
        norm_mlp: LayerNorm after the MLP.
        dropout_attention: Dropout rate of attention weights.
        dropout_conv: Dropout rate after the graph layer.
        dropout_hidden: Dropout rate inside the MLP.
        dropout_mlp: Dropout rate after the MLP.
        every_step: Return the embeddings after every step, for a head and a loss on each.
        concatenate: Return the embeddings of all steps side by side, `[N, steps * width]`.
        check_finite: Check `x` for NaN and infinity; costs one sum over `x` per call, and on an
            accelerator one synchronisation.

    Raises:
        ValueError: If a value is out of range or contradicts another; the message names both.
    """

    channels: int
    steps: int = 1
    heads: int = 1
    conv: str = "IntraBatchConv"
    conv_args: Mapping[str, Any] | None = None
    null_node: bool = True
    self_loops: bool = True
    fuse: bool = True
    first_linear: bool = True
    reduction: int = 1
    mlp: bool = True
    mlp_ratio: int = 4
    residual_conv: bool = True
    residual_mlp: bool = True
    norm_conv: bool = True
    norm_mlp: bool = True
    dropout_attention: float = 0.1
    dropout_conv: float = 0.1
    dropout_hidden: float = 0.1
    dropout_mlp: float = 0.1
    every_step: bool = False
    concatenate: bool = False
    check_finite: bool = True

    def __post_init__(self) -> None:
        """Check ranges and combinations."""
        check_at_least(0, steps=self.steps)
        check_at_least(
            1, channels=self.channels, reduction=self.reduction, mlp_ratio=self.mlp_ratio
        )
        for name in ("dropout_attention", "dropout_conv", "dropout_hidden", "dropout_mlp"):
            check_rate(name, getattr(self, name))
        if self.channels % self.reduction:
            raise ValueError(
                f"reduction must divide channels, got reduction={self.reduction} and "
                f"channels={self.channels}"
            )
        if self.reduction > 1 and not self.first_linear:
            raise ValueError(
                f"reduction={self.reduction} needs first_linear=True, got first_linear=False"
            )
        if self.every_step and self.concatenate:
            raise ValueError(
                "every_step and concatenate exclude each other, got every_step=True and "
                "concatenate=True"
            )

    @property
    def width(self) -> int:
        """Width of a node embedding inside the network."""
        return self.channels // self.reduction

    @property
    def out_channels(self) -> int:
        """Width of a refined embedding."""
        if self.steps == 0:
            return self.channels
        return self.width * (self.steps if self.concatenate else 1)

    @property
    def num_outputs(self) -> int:
        """Number of refined embeddings of a node, and of heads for them."""
        return max(self.steps, 1) if self.every_step else 1

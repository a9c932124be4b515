"""Released checkpoints of the message passing network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.export.official.checkpoint import (
    check_known,
    clean_state_dict,
    count_numbered,
    load_renamed,
    require,
)
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.mpn import MPN

_WHAT = "a released MPN"
_STEP = "gnn_model.node_model.layers."
_KNOWN = (
    r"dim_red\.(weight|bias)",
    r"gnn_model\.node_model\.layers\.\d+\.att\.(q_linear|k_linear|v_linear|out)\.(weight|bias)",
    r"gnn_model\.node_model\.layers\.\d+\.(linear|norm)[12]\.(weight|bias)",
    r"bottleneck\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)",
    r"fc\.\d+\.(weight|bias)",
)
_RELEASED_PARTS = {
    "conv.lin_query": "att.q_linear",
    "conv.lin_key": "att.k_linear",
    "conv.lin_value": "att.v_linear",
    "conv.lin_out": "att.out",
    "mlp.0": "linear1",
    "mlp.3": "linear2",
    "norm_conv": "norm1",
    "norm_mlp": "norm2",
}


@dataclass
class MPNPrediction:
    """Output of an MPN with its heads.

    Attributes:
        features: Refined embeddings, `[N, C]` each, one entry per head.
        logits: Class logits, `[N, num_classes]` each, one entry per head.
        attention: Attention weights of each step, `[H, N, N]`, if requested.
    """

    features: list[Tensor]
    logits: list[Tensor]
    attention: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class MPNLayout:
    """Layout of a released MPN, as far as its weights determine it.

    Attributes:
        channels: Width of the input embeddings.
        reduction: Factor by which the first linear layer reduces the width.
        steps: Number of message passing steps.
        every_step: Whether there is a head after every step.
        concatenate: Whether there is one head on the concatenation of all steps.
        neck: Whether heads have batch normalisation and no bias.
        mlp: Whether a step has an MLP.
        norm_conv: Whether a LayerNorm follows the messages.
        norm_mlp: Whether a LayerNorm follows the MLP.
        num_classes: Number of classes.
    """

    channels: int
    reduction: int
    steps: int
    every_step: bool
    concatenate: bool
    neck: bool
    mlp: bool
    norm_conv: bool
    norm_mlp: bool
    num_classes: int


class OfficialMPN(nn.Module):
    """Released MPN with its heads.

    Attributes:
        layout: Layout of the network.
        mpn: The message passing network.
        heads: A `BNNeckHead` or `LinearHead` per entry of `features`.
    """

    def __init__(
        self,
        layout: MPNLayout,
        num_heads: int,
        *,
        dropout: float = 0.1,
        residual_conv: bool = True,
        residual_mlp: bool = True,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.mpn = MPN(
            layout.channels,
            layout.steps,
            heads=num_heads,
            reduction=layout.reduction,
            mlp=layout.mlp,
            residual_conv=residual_conv,
            residual_mlp=residual_mlp,
            norm_conv=layout.norm_conv,
            norm_mlp=layout.norm_mlp,
            dropout_attention=dropout,
            dropout_conv=dropout,
            dropout_hidden=dropout,
            dropout_mlp=dropout,
            every_step=layout.every_step,
            concatenate=layout.concatenate,
        )
        head = BNNeckHead if layout.neck else LinearHead
        self.heads = nn.ModuleList(
            head(self.mpn.out_channels, layout.num_classes) for _ in range(self.mpn.num_outputs)
        )

    def forward(self, x: Tensor, *, return_attention: bool = False) -> MPNPrediction:
        """Refine L2-normalised embeddings `[N, C]` on the complete graph and classify them."""
        refined = self.mpn(x, return_attention=return_attention)
        logits = [head(f) for head, f in zip(self.heads, refined.features, strict=True)]
        return MPNPrediction(refined.features, logits, refined.attention)


def mpn_from_state_dict(
    state_dict: Mapping[str, Tensor],
    num_heads: int,
    *,
    dropout: float = 0.1,
    residual_conv: bool = True,
    residual_mlp: bool = True,
) -> OfficialMPN:
    """Build the MPN of a released checkpoint, with its weights.

    Everything except the arguments below is determined by keys and shapes.

    Args:
        state_dict: Tensors by released key, with or without the prefix `module.`.
        num_heads: Number of attention heads.
        dropout: Value of the four dropout rates, for further training.
        residual_conv: Whether it was trained with the residual around the messages (`res1`).
        residual_mlp: Whether it was trained with the residual around the MLP (`res2`).

    Returns:
        The module in evaluation mode: it maps L2-normalised embeddings `[N, D]` to an
        `MPNPrediction`.

    Raises:
        RunError: Naming the first key that does not fit.
        ConfigError: If `num_heads` does not divide the width (also a `ValueError`).
    """
    tensors = clean_state_dict(state_dict)
    layout = read_mpn_layout(tensors)
    width = layout.channels // layout.reduction
    if num_heads < 1 or width % num_heads:
        raise ConfigError(
            f"num_heads must divide the width of the MPN, got num_heads={num_heads} and {width}"
        )
    with torch.device("meta"):
        module = OfficialMPN(
            layout,
            num_heads,
            dropout=dropout,
            residual_conv=residual_conv,
            residual_mlp=residual_mlp,
        )
    names = {key: _released_name(key) for key in module.state_dict()}
    load_renamed(module, tensors, names, _WHAT)
    return module.eval()


def read_mpn_layout(state_dict: Mapping[str, Tensor]) -> MPNLayout:
    """Determine the layout of a released MPN from keys and shapes.

    Raises:
        RunError: Naming the first key that does not fit.
    """
    check_known(state_dict, _KNOWN, _WHAT)
    width, channels = require(state_dict, "dim_red.weight", 2, _WHAT).shape
    if channels % width:
        raise RunError(
            f"not the weights of {_WHAT}: key 'dim_red.weight' has shape {[width, channels]}, "
            "whose first number does not divide the second"
        )
    steps = count_numbered(state_dict, _STEP, _WHAT)
    heads = count_numbered(state_dict, "fc.", _WHAT)
    if heads not in (1, steps):
        raise RunError(
            f"not the weights of {_WHAT}: key 'fc.{heads - 1}.weight', but {steps} steps "
            f"have 1 or {steps} heads"
        )
    num_classes, head_width = require(state_dict, "fc.0.weight", 2, _WHAT).shape
    return MPNLayout(
        channels=channels,
        reduction=channels // width,
        steps=steps,
        every_step=heads == steps > 1,
        concatenate=heads == 1 and steps > 1 and head_width == steps * width,
        neck=any(key.startswith("bottleneck.") for key in state_dict),
        mlp=f"{_STEP}0.linear1.weight" in state_dict,
        norm_conv=f"{_STEP}0.norm1.weight" in state_dict,
        norm_mlp=f"{_STEP}0.norm2.weight" in state_dict,
        num_classes=num_classes,
    )


def _released_name(key: str) -> str:
    if key.startswith("mpn.first_linear."):
        return key.replace("mpn.first_linear", "dim_red", 1)
    if key.startswith("heads."):
        _, number, part, name = key.split(".")
        return f"{'bottleneck' if part == 'norm' else 'fc'}.{number}.{name}"
    number, part = key.removeprefix("mpn.steps.").split(".", 1)
    part, name = part.rsplit(".", 1)
    return f"{_STEP}{number}.{_RELEASED_PARTS[part]}.{name}"

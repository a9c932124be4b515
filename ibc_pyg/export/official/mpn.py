"""Released weights of the message passing network."""

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
    """What an MPN with its heads returns.

    Attributes:
        features: refined embeddings, [N, C] each, one entry per head.
        logits: [N, num_classes] each, one entry per head.
        attention: attention weights of each step, [H, N, N], if they were asked for.

    """

    features: list[Tensor]
    logits: list[Tensor]
    attention: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class MPNLayout:
    """How a released MPN is built, as far as its weights tell.

    Attributes:
        channels: width of the embeddings that come in.
        reduction: by how much the first linear layer divides it.
        steps: number of message passing steps.
        every_step: a head after every step.
        concatenate: one head on all steps side by side.
        neck: heads with batch normalisation and no bias.
        mlp: whether a step has an MLP.
        norm_conv: LayerNorm after the messages.
        norm_mlp: LayerNorm after the MLP.
        num_classes: number of classes.

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
    """A released MPN with its heads.

    Attributes:
        layout: how it is built.
        mpn: the message passing network.
        heads: a :class:`BNNeckHead` or :class:`LinearHead` per entry of `features`.

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
        """Refine L2-normalised embeddings, [N, C], over the complete graph and classify them."""
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
    """Build the MPN that a released checkpoint belongs to, weights included.

    Everything but the arguments below is read from keys and shapes.

    Args:
        state_dict: tensors by released key, with or without `module.` before each.
        num_heads: number of attention heads.
        dropout: the four dropout rates, for going on with training.
        residual_conv: whether it was trained with the residual around the messages (`res1`).
        residual_mlp: whether it was trained with the residual around the MLP (`res2`).

    Returns:
        The module in evaluation mode: called with L2-normalised embeddings [N, D], it returns an
        object with `.features` and `.logits`, lists with one tensor per head.

    Raises:
        RunError: naming the first key that does not fit.
        ConfigError: `num_heads` does not divide the width (a `ValueError` too).

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
    """Read from keys and shapes how a released MPN is built.

    Raises:
        RunError: naming the first key that does not fit.

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
            f"not the weights of {_WHAT}: key 'fc.{heads - 1}.weight', but there are {steps} steps "
            "and so either 1 head or as many"
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

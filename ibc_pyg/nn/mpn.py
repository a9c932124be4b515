"""The message passing network (MPN): embeddings of a batch refined by each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.nn.conv.adapter import ConvAdapter
from ibc_pyg.nn.conv.checks import check_edges, check_nodes, check_rate
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.senders import senders_of
from ibc_pyg.parallel.collectives import world_size


@dataclass
class MPNOutput:
    """What the MPN returns.

    Attributes:
        features: refined embeddings, [N, C] or [B, N, C] each: of the last step, or of every step,
            or of all steps side by side.
        attention: attention weights of each step if they were asked for, else empty: [H, N, N] or
            [B, H, N, N], receiver first, of a complete graph; [E, H] of given edges.

    """

    features: list[Tensor]
    attention: list[Tensor] = field(default_factory=list)


class MPNStep(nn.Module):
    """One step: messages, residual, norm, then an MLP per node, residual, norm.

    The norm comes after the sum (post-norm). Without the MLP its place is taken by the identity,
    as in the released code: the second residual then doubles the embedding.

    Args:
        conv: the graph layer, [N, C] to [N, C].
        channels: width C of a node embedding.
        mlp: whether there is an MLP: two linear layers with ReLU between them.
        mlp_ratio: hidden width of the MLP as a multiple of `channels`.
        residual_conv: add the input to what the messages bring.
        residual_mlp: add the input to what the MLP brings.
        norm_conv: LayerNorm after the messages.
        norm_mlp: LayerNorm after the MLP.
        dropout_conv: dropout rate after the messages.
        dropout_hidden: dropout rate inside the MLP.
        dropout_mlp: dropout rate after the MLP.

    """

    def __init__(
        self,
        conv: nn.Module,
        channels: int,
        *,
        mlp: bool = True,
        mlp_ratio: int = 4,
        residual_conv: bool = True,
        residual_mlp: bool = True,
        norm_conv: bool = True,
        norm_mlp: bool = True,
        dropout_conv: float = 0.0,
        dropout_hidden: float = 0.0,
        dropout_mlp: float = 0.0,
    ) -> None:
        super().__init__()
        self.residual_conv = residual_conv
        self.residual_mlp = residual_mlp
        self.conv = conv
        self.dropout_conv = nn.Dropout(dropout_conv)
        self.norm_conv = nn.LayerNorm(channels) if norm_conv else nn.Identity()
        self.mlp: nn.Module = nn.Identity()
        if mlp:
            self.mlp = nn.Sequential(
                nn.Linear(channels, mlp_ratio * channels),
                nn.ReLU(),
                nn.Dropout(dropout_hidden),
                nn.Linear(mlp_ratio * channels, channels),
            )
        self.dropout_mlp = nn.Dropout(dropout_mlp)
        self.norm_mlp = nn.LayerNorm(channels) if norm_mlp else nn.Identity()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the refined embeddings, shaped as `x`, and the attention weights if asked for."""
        alpha: Tensor | None = None
        # In training, nodes listen to those of all processes as they are before this step.
        options: dict[str, Any] = {}
        if self.training and x.dim() == 2 and (senders := senders_of(x)) is not None:
            options["senders"] = senders
        if return_attention:
            options["return_attention_weights"] = True
            update, weights = self.conv(x, edge_index, edge_weight, **options)
            alpha = weights[1] if isinstance(weights, tuple) else weights
        else:
            update = self.conv(x, edge_index, edge_weight, **options)
        update = self.dropout_conv(update)
        x = self.norm_conv(x + update if self.residual_conv else update)
        update = self.dropout_mlp(self.mlp(x))
        x = self.norm_mlp(x + update if self.residual_mlp else update)
        return x, alpha


class MPN(nn.Module):
    """Message passing network: node embeddings to refined node embeddings.

    From `"Learning Intra-Batch Connections for Deep Metric Learning"
    <https://arxiv.org/abs/2102.07753>`_ (ICML 2021), section 3.2. A linear layer, then `steps`
    times :class:`MPNStep`. With `steps=0` it is the identity and has no parameters.

    In training with several processes (`torch.distributed` is initialised) the graph spans all of
    them: nodes [N, C] of one process receive from everybody's, in rank order, and gradients go
    back to everybody; attention is [H, N, M] then, and given edges lead from one of the M nodes of
    all processes to one of the N nodes here. In evaluation each process stands for itself.

    Args:
        channels: width C of the embeddings that come in.
        steps: number of message passing steps.
        heads: number of attention heads; `IntraBatchConv` wants it to divide the width
            `channels // reduction`.
        conv: graph layer: `IntraBatchConv`, the name of a convolution in `torch_geometric.nn`, or
            a dotted path or `file.py:Class`.
        conv_args: further arguments of the layer's constructor.
        null_node: softmax-plus-one in `IntraBatchConv`.
        self_loops: whether the complete graph has self-loops.
        fuse: use the dense twin of the layer on complete graphs if there is one.
        first_linear: whether a linear layer comes before the first step.
        reduction: by how much the first linear layer divides the width; must divide `channels`.
        mlp: whether a step has an MLP.
        mlp_ratio: hidden width of the MLP as a multiple of the width.
        residual_conv: residual around the messages.
        residual_mlp: residual around the MLP.
        norm_conv: LayerNorm after the messages.
        norm_mlp: LayerNorm after the MLP.
        dropout_attention: dropout rate of attention weights.
        dropout_conv: dropout rate after the messages.
        dropout_hidden: dropout rate inside the MLP.
        dropout_mlp: dropout rate after the MLP.
        every_step: return the embeddings after every step, for a head and a loss on each.
        concatenate: return the embeddings of all steps side by side, [N, steps * width].
        check_finite: refuse NaN and infinity in `x`; costs one sum over `x` per call, and on an
            accelerator one wait for it.

    Shapes:
        - **input:** embeddings :math:`(N, C)`, or :math:`(B, N, C)` for B separate complete graphs
        - **output:** :class:`MPNOutput` of embeddings :math:`(N, C')` or :math:`(B, N, C')`, with
          C' = :attr:`out_channels`

    Raises:
        ValueError: an argument out of range or at odds with another; an empty graph, NaN in `x`,
            an edge index out of range; the message names argument and values.

    """

    def __init__(
        self,
        channels: int,
        steps: int = 1,
        *,
        heads: int = 1,
        conv: str = "IntraBatchConv",
        conv_args: Mapping[str, Any] | None = None,
        null_node: bool = True,
        self_loops: bool = True,
        fuse: bool = True,
        first_linear: bool = True,
        reduction: int = 1,
        mlp: bool = True,
        mlp_ratio: int = 4,
        residual_conv: bool = True,
        residual_mlp: bool = True,
        norm_conv: bool = True,
        norm_mlp: bool = True,
        dropout_attention: float = 0.1,
        dropout_conv: float = 0.1,
        dropout_hidden: float = 0.1,
        dropout_mlp: float = 0.1,
        every_step: bool = False,
        concatenate: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__()
        self.check_finite = check_finite
        _check(channels, steps, first_linear, reduction, mlp_ratio, every_step, concatenate)
        for name, rate in (
            ("dropout_attention", dropout_attention),
            ("dropout_conv", dropout_conv),
            ("dropout_hidden", dropout_hidden),
            ("dropout_mlp", dropout_mlp),
        ):
            check_rate(name, rate)
        width = channels // reduction
        self.channels = channels
        self.width = width
        self.conv_name = conv
        self.every_step = every_step
        self.concatenate = concatenate
        self.out_channels = channels if steps == 0 else width * (steps if concatenate else 1)
        self.first_linear: nn.Module = nn.Identity()
        if steps and first_linear:
            self.first_linear = nn.Linear(channels, width)
        self.steps = nn.ModuleList()
        for _ in range(steps):
            layer = make_conv(
                conv,
                width,
                heads=heads,
                dropout=dropout_attention,
                conv_args=conv_args,
                null_node=null_node,
                self_loops=self_loops,
                fuse=fuse,
            )
            if isinstance(layer, (IntraBatchConv, ConvAdapter)):
                # The MPN looks at the values once; each look makes an accelerator wait.
                layer.check_finite = False
            self.steps.append(
                MPNStep(
                    layer,
                    width,
                    mlp=mlp,
                    mlp_ratio=mlp_ratio,
                    residual_conv=residual_conv,
                    residual_mlp=residual_mlp,
                    norm_conv=norm_conv,
                    norm_mlp=norm_mlp,
                    dropout_conv=dropout_conv,
                    dropout_hidden=dropout_hidden,
                    dropout_mlp=dropout_mlp,
                )
            )

    @property
    def num_outputs(self) -> int:
        """How many entries `features` has: that many heads are wanted."""
        return max(len(self.steps), 1) if self.every_step else 1

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> MPNOutput:
        """Refine the embeddings.

        Args:
            x: embeddings (the method L2-normalises them before), [N, C] or [B, N, C].
            edge_index: (source, target) of each edge, int64 [2, E]; None is the complete graph.
            edge_weight: multiplies the attention: [E] with `edge_index`, else [N, N] or [B, N, N],
                receiver first.
            return_attention: return the attention weights of each step too.

        """
        check_nodes(x, self.channels, finite=self.check_finite)
        if world_size() == 1 or not self.training:
            check_edges(x, edge_index, edge_weight, values=self.check_finite)
        if return_attention:
            self._check_has_attention()
        if not self.steps:
            return MPNOutput([x])
        features, attention = [], []
        x = self.first_linear(x)  # [N, C / reduction]
        for step in self.steps:
            x, alpha = step(x, edge_index, edge_weight, return_attention=return_attention)
            features.append(x)
            if alpha is not None:
                attention.append(alpha)
        if self.concatenate:
            return MPNOutput([torch.cat(features, dim=-1)], attention)  # [N, steps * C / reduction]
        return MPNOutput(features if self.every_step else features[-1:], attention)

    def _check_has_attention(self) -> None:
        for step in self.steps:
            if not getattr(step.conv, "has_attention", False):
                raise ValueError(
                    f"return_attention needs a layer with attention weights, got conv="
                    f"{self.conv_name!r}, which has none"
                )


def _check(
    channels: int,
    steps: int,
    first_linear: bool,
    reduction: int,
    mlp_ratio: int,
    every_step: bool,
    concatenate: bool,
) -> None:
    for name, value, least in (
        ("channels", channels, 1),
        ("steps", steps, 0),
        ("reduction", reduction, 1),
        ("mlp_ratio", mlp_ratio, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if channels % reduction:
        raise ValueError(
            f"reduction must divide channels, got reduction={reduction} and channels={channels}"
        )
    if reduction > 1 and not first_linear:
        raise ValueError(f"reduction={reduction} needs first_linear=True, got first_linear=False")
    if every_step and concatenate:
        raise ValueError(
            "every_step and concatenate exclude each other, got every_step=True and "
            "concatenate=True"
        )

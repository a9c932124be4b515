"""The message passing network (MPN), which refines the embeddings of a batch by each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ibc_pyg.nn.checks import check_edges, check_nodes
from ibc_pyg.nn.conv.adapter import ConvAdapter
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv
from ibc_pyg.nn.conv.step import MPNStep
from ibc_pyg.nn.mpn_config import MPNConfig
from ibc_pyg.parallel.collectives import world_size


@dataclass
class MPNOutput:
    """Output of the MPN.

    Attributes:
        features: Refined embeddings, `[N, C]` or `[B, N, C]` each: of the last step, of every
            step, or of all steps side by side.
        attention: Attention weights of each step if requested, else empty: `[H, N, N]` or
            `[B, H, N, N]`, receiver first, of a complete graph; `[E, H]` of given edges.
    """

    features: list[Tensor]
    attention: list[Tensor] = field(default_factory=list)


class MPN(nn.Module):
    """Message passing network: node embeddings to refined node embeddings.

    From `"Learning Intra-Batch Connections for Deep Metric Learning"
    <https://arxiv.org/abs/2102.07753>`_ (ICML 2021), section 3.2: a linear layer, then `steps`
    times `MPNStep`. With `steps=0` it is the identity and has no parameters.

    In training with several processes (`torch.distributed` is initialised) the graph spans all of
    them: the nodes `[N, C]` of a process receive from the nodes of all processes, in rank order,
    and gradients flow back to all of them. Attention is `[H, N, M]` then, and given edges lead from
    one of the M nodes of all processes to one of the N nodes of this process. In evaluation each
    process has a graph of its own.

    Args:
        channels: Width C of the input embeddings.
        steps: Number of message passing steps.
        **options: Further fields of `MPNConfig`, such as `heads`, `conv`, `reduction`,
            `dropout_attention` or `every_step`.

    Shapes:
        - **input:** embeddings :math:`(N, C)`, or :math:`(B, N, C)` for B separate complete graphs
        - **output:** :class:`MPNOutput` of embeddings :math:`(N, C')` or :math:`(B, N, C')`, with
          C' = `config.out_channels`

    Raises:
        ValueError: If an argument is out of range or contradicts another, the graph is empty, `x`
            has NaN or an edge index is out of range; the message names argument and values.
    """

    def __init__(self, channels: int, steps: int = 1, **options: Any) -> None:
        super().__init__()
        config = MPNConfig(channels, steps, **options)
        self.config = config
        self.out_channels = config.out_channels
        self.num_outputs = config.num_outputs
        self.first_linear: nn.Module = nn.Identity()
        if config.steps and config.first_linear:
            self.first_linear = nn.Linear(config.channels, config.width)
        self.steps = nn.ModuleList(
            MPNStep(_make_layer(config), config) for _ in range(config.steps)
        )

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
            x: Embeddings (the method L2-normalises them), `[N, C]` or `[B, N, C]`.
            edge_index: (source, target) of each edge, int64 `[2, E]`; None is the complete graph.
            edge_weight: Factor of the attention: `[E]` with `edge_index`, else `[N, N]` or
                `[B, N, N]`, receiver first.
            return_attention: Also return the attention weights of each step.
        """
        config = self.config
        check_nodes(x, config.channels, finite=config.check_finite)
        if world_size() == 1 or not self.training:
            check_edges(x, edge_index, edge_weight, values=config.check_finite)
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
        if config.concatenate:
            return MPNOutput([torch.cat(features, dim=-1)], attention)  # [N, steps * C / reduction]
        return MPNOutput(features if config.every_step else features[-1:], attention)

    def _check_has_attention(self) -> None:
        for step in self.steps:
            if not getattr(step.conv, "has_attention", False):
                raise ValueError(
                    f"return_attention needs a layer with attention weights, got conv="
                    f"{self.config.conv!r}, which has none"
                )


def _make_layer(config: MPNConfig) -> nn.Module:
    layer = make_conv(
        config.conv,
        config.width,
        conv_args=config.conv_args,
        heads=config.heads,
        dropout=config.dropout_attention,
        null_node=config.null_node,
        self_loops=config.self_loops,
        fuse=config.fuse,
    )
    if isinstance(layer, (IntraBatchConv, ConvAdapter)):
        # The MPN checks the values once; each check synchronises an accelerator.
        layer.check_finite = False
    return layer

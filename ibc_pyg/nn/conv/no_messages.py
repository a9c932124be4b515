"""Graph layer that passes no messages: the network without its graph, as a control."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ibc_pyg.nn.senders import Senders


class NoMessages(nn.Module):
    """Send zeros to every node, so that a step of the MPN is its norms and its MLP alone.

    It replaces a graph layer in the ablation that separates the effect of messages from that of
    the layers around them.

    Shapes:
        - **input:** node embeddings :math:`(N, C)` or :math:`(B, N, C)`; edges are ignored
        - **output:** zeros, shaped as the input
    """

    has_attention = False

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        *,
        senders: Senders | None = None,
    ) -> Tensor:
        """Return zeros, shaped as `x`."""
        return torch.zeros_like(x)

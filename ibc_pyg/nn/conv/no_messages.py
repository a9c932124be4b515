"""The layer that says nothing: what is left of the method without the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ibc_pyg.nn.senders import Senders


class NoMessages(nn.Module):
    """Bring zeros to every node, so that a step is its norms and its MLP, each node by itself.

    It has the place of a graph layer, for the ablation that tells what the messages bring from what
    the layers around them bring.

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

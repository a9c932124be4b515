"""A graph layer."""

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing


class MeanConv(MessagePassing):
    """Mean of the linearly transformed neighbours."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(aggr="mean")
        self.lin = torch.nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Pass messages, `[N, C] -> [N, C]`."""
        return self.propagate(edge_index, x=self.lin(x))

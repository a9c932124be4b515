"""IntraBatchConv as a layer of PyTorch Geometric, on graphs of its DataLoader.

The class of a random graph is the sign of the correlation between its first two features.

    python examples/library/pyg_loader.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import global_mean_pool

from ibc_pyg.nn import IntraBatchConv

NODES, WIDTH = 8, 32


class Net(nn.Module):
    """Two layers, the mean over the nodes of each graph, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, WIDTH)
        self.convs = nn.ModuleList(IntraBatchConv(WIDTH, WIDTH, heads=2) for _ in range(2))
        self.classify = nn.Linear(WIDTH, 2)

    def forward(self, data: Data) -> Tensor:
        """Return the logits of the graphs of a batch, `[B, 2]`."""
        x = F.gelu(self.first(data.x))  # [B * nodes, width]
        for conv in self.convs:
            x = x + F.gelu(conv(x, data.edge_index))
        return self.classify(global_mean_pool(x, data.batch))


def graphs(count: int, seed: int) -> list[Data]:
    """Return fully connected graphs of random nodes."""
    draws = torch.Generator().manual_seed(seed)
    edges = torch.ones(NODES, NODES).nonzero().T.contiguous()  # [2, E]
    made = []
    for label in torch.randint(2, (count,), generator=draws).tolist():
        x = torch.randn(NODES, 4, generator=draws)
        x[:, 1] = (1 if label else -1) * x[:, 0] + 0.5 * x[:, 1]
        made.append(Data(x=x, edge_index=edges, y=label))
    return made


def main() -> float:
    """Train and return the accuracy on new graphs."""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(6):
        for batch in DataLoader(graphs(256, seed=0), batch_size=32, shuffle=True):
            loss = F.cross_entropy(net(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    (batch,) = DataLoader(graphs(512, seed=1), batch_size=512)
    with torch.no_grad():
        return float((net(batch).argmax(1) == batch.y).float().mean())


if __name__ == "__main__":
    print(f"accuracy on new graphs: {main():.3f}")

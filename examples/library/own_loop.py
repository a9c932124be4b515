"""The method in a training loop of one's own: backbone, MPN, two heads, two cross-entropies.

python examples/library/own_loop.py
"""

import torch
import torch.nn.functional as F
from digits import CLASSES, digits
from torch import nn

from ibc_pyg import retrieval_metrics
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.nn import MPN, BNNeckHead, LinearHead

WIDTH, EPOCHS = 64, 4


def main() -> float:
    """Train and return R@1 on the test images."""
    torch.manual_seed(0)
    train, test = digits(train=True), digits(train=False)
    backbone = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 16, WIDTH),
    )  # fmt: skip
    mpn = MPN(WIDTH, steps=1, heads=4)
    node_head, auxiliary_head = BNNeckHead(WIDTH, CLASSES), LinearHead(WIDTH, CLASSES)
    model = nn.ModuleList([backbone, mpn, node_head, auxiliary_head])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    sampler = make_sampler("distinct", train.y.numpy(), SamplerSettings(10, 5, seed=0))
    for _ in range(EPOCHS):
        for rows in sampler:
            embeddings = backbone(train.x[rows])  # [N, D]
            # Without edges the batch is a complete graph.
            nodes = mpn(F.normalize(embeddings, dim=1)).features[-1]  # [N, D]
            loss = F.cross_entropy(node_head(nodes), train.y[rows])
            loss = loss + F.cross_entropy(auxiliary_head(embeddings), train.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    # Message passing is not needed any more: the backbone alone gives the descriptors.
    backbone.eval()
    with torch.no_grad():
        descriptors = F.normalize(backbone(test.x), dim=1)  # [N, D]
    return retrieval_metrics(descriptors, test.y)["R@1"]


if __name__ == "__main__":
    print(f"R@1 on new images: {main():.3f}")

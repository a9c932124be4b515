"""A trainer, a sampler, a loss and a miner of pytorch-metric-learning with the MPN as embedder.

The loss is computed on the refined nodes; the trunk alone gives the descriptors.

    python examples/library/metric_learning.py
"""

import logging

import torch
import torch.nn.functional as F
from digits import digits
from pytorch_metric_learning import losses, miners, samplers, trainers
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ibc_pyg import retrieval_metrics
from ibc_pyg.nn import MPN

WIDTH = 64


class Refined(nn.Module):
    """The last nodes of an MPN over the batch as a complete graph."""

    def __init__(self) -> None:
        super().__init__()
        self.mpn = MPN(WIDTH, steps=1, heads=4)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Refine embeddings, `[N, D] -> [N, D]`."""
        nodes: Tensor = self.mpn(F.normalize(embeddings, dim=1)).features[-1]
        return nodes


def main() -> float:
    """Train and return R@1 on the test images."""
    logging.getLogger("PML").setLevel(logging.WARNING)
    torch.manual_seed(0)
    train, test = digits(train=True), digits(train=False)
    trunk = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 16, WIDTH),
    )  # fmt: skip
    models = {"trunk": trunk, "embedder": Refined()}
    trainer = trainers.MetricLossOnly(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=3e-3)
            for name, model in models.items()
        },
        batch_size=50,
        loss_funcs={"metric_loss": losses.MultiSimilarityLoss()},
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner()},
        dataset=TensorDataset(train.x, train.y),
        sampler=samplers.MPerClassSampler(train.y, m=10, length_before_new_iter=len(train.y)),
        dataloader_num_workers=0,
        data_device="cpu",
    )
    trainer.train(num_epochs=6)
    trunk.eval()
    with torch.no_grad():
        descriptors = F.normalize(trunk(test.x), dim=1)  # [N, D]
    return retrieval_metrics(descriptors, test.y)["R@1"]


if __name__ == "__main__":
    print(f"R@1 on new images: {main():.3f}")

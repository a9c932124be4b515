"""A Dataset, a sampler and a backbone of one's own with the model, the loss and the metrics.

python examples/library/own_parts.py
"""

import numpy as np
import torch
from digits import CLASSES, digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ibc_pyg import clustering_metrics, retrieval_metrics
from ibc_pyg.data.sampling import PKSampler, SamplerSettings
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn import MPN, BNNeckHead, LinearHead
from ibc_pyg.nn.model import IntraBatchModel

WIDTH = 64


class Noisy(Dataset):
    """Digits with noise that differs each time."""

    def __init__(self) -> None:
        self.images = digits(train=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """Return an image, float32 `[1, 8, 8]`, and its label."""
        image = self.images.x[row]
        return image + 0.1 * torch.randn_like(image), self.images.y[row]


class TenBatches(PKSampler):
    """Ten batches in an epoch, whatever the number of images is."""

    def make_plan(self, rng: np.random.Generator) -> np.ndarray:
        """Return the rows of all batches, int64 `[steps, P * K]`."""
        P, K = self.settings.classes_per_batch, self.settings.images_per_class
        batches = []
        for _ in range(10):
            classes = rng.choice(len(self.rows_of_class), P, replace=False)
            batches.append([rng.choice(self.rows_of_class[c], K, replace=False) for c in classes])
        return np.array(batches).reshape(10, P * K)


class Perceptron(nn.Module):
    """Two linear layers from pixels `[N, 1, 8, 8]` to embeddings `[N, D]`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        return self.layers(images.flatten(1))


def main() -> float:
    """Train and return R@1 on the test images."""
    torch.manual_seed(0)
    mpn = MPN(WIDTH, steps=1, heads=4)
    node_head, auxiliary_head = BNNeckHead(WIDTH, CLASSES), LinearHead(WIDTH, CLASSES)
    model = IntraBatchModel(Perceptron(), mpn, [node_head], auxiliary_head)
    loss_function = IntraBatchLoss(label_smoothing=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    data = Noisy()
    settings = SamplerSettings(classes_per_batch=10, images_per_class=5, seed=0)
    loader = DataLoader(data, batch_sampler=TenBatches(data.images.y.numpy(), settings))
    for _ in range(8):
        for images, labels in loader:
            loss = loss_function(model(images), labels).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    test = digits(train=False)
    model.eval()
    with torch.no_grad():
        descriptors = model.embed(test.x)  # [N, D], unit norm
    scores = retrieval_metrics(descriptors, test.y) | clustering_metrics(descriptors, test.y)
    return scores["R@1"]


if __name__ == "__main__":
    print(f"R@1 on new images: {main():.3f}")

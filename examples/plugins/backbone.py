"""A backbone: any torch.nn.Module from images to embeddings."""

from torch import Tensor, nn


class TwoLayers(nn.Module):
    """Perceptron on 4 x 4 averages of the pixels."""

    def __init__(self, in_channels: int, embedding_dim: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, width), nn.ReLU()
        )
        self.embedding = nn.Linear(width, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to embeddings `[N, D]`."""
        return self.embedding(self.body(images))

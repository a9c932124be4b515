"""A transform of torchvision's parts."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class Shifted:
    """Random shifts in training; none in test."""

    channels = 1

    def __init__(self, image_size: int = 8, padding: int = 1) -> None:
        self.image_size = image_size
        to_float = v2.ToDtype(torch.float32, scale=True)
        self.train_steps = v2.Compose([v2.RandomCrop(image_size, padding=padding), to_float])
        self.test_steps = v2.Compose([v2.Resize(image_size), v2.CenterCrop(image_size), to_float])

    def train(self, image: Tensor) -> Tensor:
        """Augment an image, uint8 `[1, H, W]` to float32 `[1, S, S]`."""
        return self.train_steps(image)

    def test(self, image: Tensor) -> Tensor:
        """Convert an image, uint8 `[1, H, W]` to float32 `[1, S, S]`."""
        return self.test_steps(image)

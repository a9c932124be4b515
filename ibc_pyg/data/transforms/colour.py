"""Colour jitter and RandAugment for one image, from a given random number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class Colour:
    """Strength of colour jitter and RandAugment; all are off by default.

    torchvision's transforms draw from torch's global generator, which is seeded from the given
    number while they run and restored afterwards.

    Attributes:
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change.
        hue: Largest shift, as a fraction of the colour circle; at most 0.5.
        operations: RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719): operations
            per image; 0 is off.
        magnitude: RandAugment's strength, 0 to 30.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    operations: int = 0
    magnitude: int = 9

    @property
    def active(self) -> bool:
        """Whether any change is enabled."""
        return bool(self._steps)

    @property
    def num_draws(self) -> int:
        """Number of random numbers per image: the seed."""
        return 1

    @cached_property
    def _steps(self) -> list[torch.nn.Module]:
        steps: list[torch.nn.Module] = []
        if self.operations:
            steps.append(v2.RandAugment(self.operations, self.magnitude))
        if self.brightness or self.contrast or self.saturation or self.hue:
            steps.append(v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue))
        return steps

    def __call__(self, image: Tensor, draws: np.ndarray) -> Tensor:
        """Change one image, uint8 `[3, H, W]`, seeded by `draws[0]` in [0, 1)."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(draws[0] * 2**32))
            for step in self._steps:
                image = step(image)
        return image

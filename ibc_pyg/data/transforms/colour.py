"""Colour jitter and RandAugment for one picture, driven by numbers drawn beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2


@dataclass(frozen=True)
class Colour:
    """How much colours change; everything is off by default.

    torchvision's transforms draw from torch's global generator. It is set from a number drawn
    beforehand while they work, and put back afterwards.

    Attributes:
        brightness: Largest change, as a share.
        contrast: Largest change, as a share.
        saturation: Largest change, as a share.
        hue: Largest shift, as a share of the colour circle; at most 0.5.
        operations: RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719): operations
            a picture; 0 is off.
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
        """Whether there is anything to do."""
        return bool(self._steps)

    @property
    def num_draws(self) -> int:
        """Random numbers that one picture takes: its seed."""
        return 1

    @cached_property
    def _steps(self) -> list[torch.nn.Module]:
        steps: list[torch.nn.Module] = []
        if self.operations:
            steps.append(v2.RandAugment(self.operations, self.magnitude))
        if self.brightness or self.contrast or self.saturation or self.hue:
            steps.append(v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue))
        return steps

    def __call__(self, picture: Tensor, draws: np.ndarray) -> Tensor:
        """Change one picture, uint8 `[3, H, W]`, as the number `draws[0]` in [0, 1) says."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(draws[0] * 2**32))
            for step in self._steps:
                picture = step(picture)
        return picture

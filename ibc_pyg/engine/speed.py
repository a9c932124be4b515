"""How fast a training is."""

from __future__ import annotations

import time
from collections import deque

SPEED_STEPS = 20
"""Steps that the speed is averaged over."""


class Speed:
    """Images per second over the last steps."""

    def __init__(self) -> None:
        self._marks = deque([(0, time.perf_counter())], maxlen=SPEED_STEPS)
        self._images = 0

    def __call__(self, images: int) -> float:
        """Count `images` more and return the images per second over the last steps."""
        self._images += images
        before, began = self._marks[0]
        now = time.perf_counter()
        self._marks.append((self._images, now))
        return (self._images - before) / max(now - began, 1e-9)

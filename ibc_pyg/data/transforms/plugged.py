"""Transforms of the user, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ibc_pyg.data.transforms.base import Draws, Images, Transform
from ibc_pyg.data.transforms.pixels import as_channels
from ibc_pyg.plugins import Plug
from ibc_pyg.plugins.plug import described

if TYPE_CHECKING:
    from ibc_pyg.plugins.protocols import ImageTransform

_SEEDS = 2**63
_ATTRIBUTES = ("image_size", "channels", "train", "test")


@dataclass(frozen=True)
class PluggedTransform(Transform):
    """Transform of the user in the place of one of this package.

    The images of a batch are transformed one by one, and torch's global generator is seeded for
    each: the result does not depend on the numbers of workers and processes. `mean` and `std` are
    0 and 1, since the normalisation is part of the user's transform.

    Attributes:
        plug: Where it comes from.
        args: Arguments it was made with.
        transform: The user's object.
    """

    plug: Plug
    args: Mapping[str, Any]
    transform: ImageTransform

    @property
    def num_draws(self) -> int:
        """One random number per image, its seed."""
        return 1

    def pixels(self, images: Images, draws: Draws) -> Tensor:
        """Augment the images, to float32 `[B, S, S, channels]`."""
        seeds = (draws[:, 0] * _SEEDS).astype("int64").tolist()
        with torch.random.fork_rng(devices=[]):
            return torch.stack(
                [
                    self._one(self.transform.train, image, seed)
                    for image, seed in zip(images, seeds, strict=True)
                ]
            )

    def fit(self, images: Images) -> Tensor:
        """Convert the images without augmentation, to float32 `[B, S, S, channels]`."""
        return torch.stack([self._one(self.transform.test, image) for image in images])

    def finish(self, pixels: Tensor, draws: Draws, first: int = 0) -> Tensor:
        """Return the images as float32 `[B, channels, S, S]`."""
        return self.normalise(pixels)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return the images as float32 `[B, channels, S, S]`."""
        return pixels.permute(0, 3, 1, 2)  # [B, channels, S, S]

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it again in a process that reads images."""
        return make_plugged, (self.plug, self.args)

    def _one(
        self, call: Callable[[Tensor], Tensor], image: Tensor, seed: int | None = None
    ) -> Tensor:
        if seed is not None:
            torch.manual_seed(seed)
        with self.plug.errors():
            result = call(as_channels(image[None], self.channels)[0])  # [channels, S, S]
        wanted = (self.channels, self.image_size, self.image_size)
        expected = f"float32 images {list(wanted)}"
        if not isinstance(result, Tensor) or (tuple(result.shape), result.dtype) != (
            wanted,
            torch.float32,
        ):
            self.plug.refuse(expected, described(result))
        if not bool(result.isfinite().all()):
            self.plug.refuse(f"finite {expected}", "NaN or infinite pixels")
        return result.permute(1, 2, 0)  # [S, S, channels]


def make_plugged(plug: Plug, args: Mapping[str, Any]) -> Transform:
    """Make a transform of the user.

    Args:
        plug: Its class, or a function that returns it.
        args: Arguments of the class or function.

    Raises:
        ConfigError: If it cannot be made, lacks an attribute, or gives other images than it says.
    """
    made = plug.make(args)
    if isinstance(made, Transform):
        return made
    missing = [name for name in _ATTRIBUTES if not hasattr(made, name)]
    if missing:
        plug.refuse(plug.kind.expected, f"{type(made).__name__} without {', '.join(missing)}")
    size, channels = made.image_size, made.channels
    if not (isinstance(size, int) and size >= 1 and channels in (1, 3)):
        plug.refuse("image_size >= 1 and 1 or 3 channels", f"{size!r:.20} and {channels!r:.20}")
    resize = getattr(made, "resize", size)
    mean, std = (0.0,) * channels, (1.0,) * channels
    transform = PluggedTransform(size, resize, mean, std, plug, args, cast("ImageTransform", made))
    trial = torch.zeros(1, channels, size, size, dtype=torch.uint8)  # [1, C, S, S]
    transform.pixels(trial, torch.zeros(1, 1).double().numpy())
    transform.fit(trial)
    return transform

"""Test-time views of an image: mirror image and several crops."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.data.table import ImageTable
from ibc_pyg.data.transforms import Images, PlainTransform, PluggedTransform, Transform
from ibc_pyg.data.transforms.pixels import as_channels, resize_shorter
from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.model import IntraBatchModel

Place = tuple[float, float]
"""Position of a crop, down and right, each in [0, 1]: (0, 0) is the upper left corner."""

CENTRE: tuple[Place, ...] = ((0.5, 0.5),)
PLACES: dict[int, tuple[Place, ...]] = {
    1: CENTRE,
    5: (*CENTRE, *product((0.0, 1.0), (0.0, 1.0))),
    9: tuple(product((0.0, 0.5, 1.0), (0.0, 0.5, 1.0))),
}


@dataclass(frozen=True)
class Views:
    """Views of a test image; the descriptor is the normalised mean of their embeddings.

    Attributes:
        flip: Add the mirror image of every crop.
        crops: 1: centre; 5: centre and corners; 9: grid of three by three.
    """

    flip: bool = False
    crops: int = 1

    def __post_init__(self) -> None:
        """Check the number of crops.

        Raises:
            ConfigError: If the number is not supported.
        """
        if self.crops not in PLACES:
            known = ", ".join(map(str, PLACES))
            raise ConfigError(f"crops must be one of {known}, not {self.crops}")

    @property
    def plain(self) -> bool:
        """Whether the centre crop is the only view."""
        return not self.flip and self.crops == 1

    @property
    def names(self) -> list[str]:
        """Names of the additional views, for tables."""
        crops = [f"{self.crops} crops"] if self.crops > 1 else []
        return [*(["flip"] if self.flip else []), *crops]

    def transform(self, table: ImageTable, transform: Transform) -> Transform:
        """Return a transform that cuts `crops` crops out of each picture.

        Raises:
            ConfigError: If all crops would be the same.
        """
        if self.crops == 1:
            return transform
        if isinstance(transform, PluggedTransform):
            raise ConfigError(
                f"crops is {self.crops}, but {transform.plug.text} crops by itself; omit crops, or "
                "derive it from ibc_pyg.data.transforms.Transform"
            )
        held = table.images
        if (
            held is not None
            and held.shape[1] == held.shape[2]
            and (transform.resize == transform.image_size)
        ):
            raise ConfigError(
                f"crops is {self.crops}, but the pictures of {table.name} are not larger than "
                f"data.transform_args.image_size = {transform.image_size}: all crops are the same"
            )
        return MultiCrop.of(transform, PLACES[self.crops])

    def embed(self, model: IntraBatchModel, images: Tensor) -> Tensor:
        """Return one descriptor per image.

        Args:
            model: Model whose backbone embeds the images.
            images: Output of the transform, float32 `[B * crops, C, S, S]`.

        Returns:
            Unit-norm float32 `[B, D]`.
        """
        vectors = model.embed(images)  # [B * crops, D]
        if self.plain:
            return vectors
        if self.flip:
            vectors = vectors + model.embed(images.flip(-1))  # [B * crops, D]
        return F.normalize(vectors.view(-1, self.crops, vectors.shape[1]).sum(1), dim=-1)  # [B, D]


@dataclass(frozen=True)
class MultiCrop(PlainTransform):
    """Test transform with several crops of each picture, consecutive in the batch.

    Attributes:
        places: Positions of the crops.
    """

    places: tuple[Place, ...] = CENTRE

    @classmethod
    def of(cls, transform: Transform, places: tuple[Place, ...]) -> MultiCrop:
        """Return a transform with the sizes and the normalisation of `transform`."""
        return cls(**{f.name: getattr(transform, f.name) for f in fields(Transform)}, places=places)

    def fit(self, images: Images) -> Tensor:
        """Resize and crop, to uint8 `[B * len(places), image_size, image_size, channels]`."""
        if isinstance(images, Tensor):
            return self._cut(images)
        return torch.cat([self._cut(image[None]) for image in images])

    def _cut(self, images: Tensor) -> Tensor:
        images = resize_shorter(as_channels(images, self.channels), self.resize)  # [B, C, H, W]
        S, (H, W) = self.image_size, images.shape[-2:]
        boxes = [(round(down * (H - S)), round(right * (W - S))) for down, right in self.places]
        crops = [images[..., top : top + S, left : left + S] for top, left in boxes]
        cut = torch.stack(crops, dim=1).flatten(0, 1)  # [B * V, C, S, S]
        return cut.permute(0, 2, 3, 1).contiguous()  # [B * V, S, S, C]

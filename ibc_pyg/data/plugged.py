"""Data sets of the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.plugins import Plug
from ibc_pyg.plugins.plug import described

_LABELS = ("labels", "targets")


def plugged_table(
    plug: Plug, root: Path | None, *, allow_partial: bool, options: Mapping[str, Any]
) -> ImageTable:
    """Make the table of a data set of the user.

    Args:
        plug: Class or function that returns an `ImageTable`, or a torch Dataset of (image, label).
            The images of a Dataset are read once and kept in memory.
        root: `data.root`, supplied where it is named, as `allow_partial`.
        allow_partial: Whether images may be missing.
        options: Further arguments.

    Returns:
        The table, its classes numbered as `ImageTable` asks for.

    Raises:
        ConfigError: If it cannot be made, or is neither.
        DatasetError: If the columns of its table do not match.
    """
    made = plug.make(options, root=root, allow_partial=allow_partial)
    if isinstance(made, ImageTable):
        _check(plug, made)
        return made.compact()
    missing = [name for name in ("__len__", "__getitem__") if not hasattr(made, name)]
    if missing:
        plug.refuse(plug.kind.expected, f"{described(made)} without {' and '.join(missing)}")
    return _from_dataset(plug, made)


def _check(plug: Plug, table: ImageTable) -> None:
    images = table.images
    if images is None:
        return
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        plug.refuse("images uint8 [M, H, W, 1 or 3]", described(images))


def _from_dataset(plug: Plug, dataset: Any) -> ImageTable:
    images: list[npt.NDArray[np.uint8]] = []
    found: list[Any] = []
    with plug.errors("cannot be read"):
        for number in range(len(dataset)):
            item = dataset[number]
            if not isinstance(item, tuple | list) or len(item) != 2:
                plug.refuse("items (image, label)", described(item))
            images.append(_pixels(plug, item[0]))
            found.append(item[1])
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        plug.refuse(
            "images of one size (return an ImageTable of files for others)",
            f"{len(shapes)} sizes" if shapes else "no image",
        )
    given = next((getattr(dataset, name) for name in _LABELS if hasattr(dataset, name)), found)
    labels = _integers(plug, given, len(images), "labels")
    names, labels = np.unique(labels, return_inverse=True)
    roles = _roles(plug, dataset, labels)
    return ImageTable(
        name=plug.name,
        paths=tuple(f"{names[label]}/{row:06d}" for row, label in enumerate(labels.tolist())),
        labels=labels.astype(np.int64),
        roles=roles,
        class_names=tuple(map(str, names.tolist())),
        images=np.stack(images),
    ).compact()


def _pixels(plug: Plug, image: object) -> npt.NDArray[np.uint8]:
    """Return an image as uint8 `[H, W, C]`."""
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        image = image[..., None] if image.ndim == 2 else image  # [H, W, C]
    elif isinstance(image, Tensor) and image.ndim == 3:
        image = image.permute(1, 2, 0).cpu().numpy()  # [H, W, C]
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or (image.shape[2] not in (1, 3))
    ):
        plug.refuse(
            "images as uint8 tensors [1 or 3, H, W], arrays [H, W, 1 or 3] or Pillow images",
            described(image),
        )
    return image


def _integers(plug: Plug, values: Any, count: int, name: str) -> npt.NDArray[np.int64]:
    try:
        numbers = np.array([int(each) for each in torch.as_tensor(values).tolist()], np.int64)
    except (TypeError, ValueError, RuntimeError):
        plug.refuse(f"integers as {name}", described(values))
    if len(numbers) != count:
        plug.refuse(f"{count} {name}", len(numbers))
    return numbers


def _roles(plug: Plug, dataset: Any, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the roles of the dataset, or the first half of the classes for training."""
    if hasattr(dataset, "roles"):
        roles = _integers(plug, dataset.roles, len(labels), "roles")
        if roles.min() < 0 or roles.max() > (Role.TRAIN | Role.TEST | Role.VAL).value:
            plug.refuse("roles as flags of ibc_pyg.data.table.Role", f"{roles.max()}")
        return roles.astype(np.uint8)
    half = (labels.max() + 1) // 2
    return np.where(labels < half, Role.TRAIN.value, Role.TEST.value).astype(np.uint8)

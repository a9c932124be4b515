"""Transforms by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ibc_pyg.data.transforms.base import Transform
from ibc_pyg.data.transforms.colour import Colour
from ibc_pyg.data.transforms.photo import PhotoTransform
from ibc_pyg.data.transforms.small import PlainTransform, SmallTransform
from ibc_pyg.errors import ConfigError

_PRESETS: dict[str, tuple[type[Transform], dict[str, Any]]] = {
    # The paper: ImageNet's statistics, erasing as Zhong et al. propose it.
    "imagenet": (PhotoTransform, {}),
    # The released code: its weights were trained with this first std, a typo for 0.229, and with
    # boxes erased to these values after normalisation.
    "released": (
        PhotoTransform,
        {"std": (0.299, 0.224, 0.225), "erase_value": (0.4914, 0.4822, 0.4465)},
    ),
    "imagenet_strong": (
        PhotoTransform,
        {
            "colour": Colour(
                brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, operations=2, magnitude=9
            )
        },
    ),
    # TensorFlow's MobileNets read pixels in [-1, 1].
    "mobilenet_tf": (
        PhotoTransform,
        {
            "image_size": 128,
            "resize": 144,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "erase_probability": 0.0,
        },
    ),
    # As strong as the distortion of the data set's test images.
    "glyphs": (
        SmallTransform,
        {
            "mean": (0.15,),
            "std": (0.3,),
            "rotation": 10.0,
            "scale": 0.1,
            "shear": 5.7,
            "translation": 0.0714,
            "contrast": 0.0,
            "noise": 0.1,
            "padding": "zeros",
        },
    ),
    "none": (PlainTransform, {}),
}


def preset_names() -> list[str]:
    """Return the names that `transform_preset` knows."""
    return list(_PRESETS)


def transform_preset(
    name: str, *, image_size: int | None = None, resize: int | None = None, **changes: Any
) -> Transform:
    """Make the transform called `name`.

    Args:
        name: One of `preset_names()`.
        image_size: Height and width of the result in pixels; None takes the preset's.
        resize: Shorter side before the centre is cut out; None keeps the preset's ratio to
            `image_size`.
        **changes: Other fields of the preset's dataclass, as `erase_probability=0.0`.

    Raises:
        ConfigError: If there is no such preset or field, or a value is out of range.
    """
    if name not in _PRESETS:
        raise ConfigError(f"data.transform: no preset {name!r}; choose one of {preset_names()}")
    kind, settings = _PRESETS[name]
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ConfigError(
            f"data.transform_args: preset {name!r} has no field {unknown[0]!r}; it has "
            f"{sorted(known)}"
        )
    settings = {**settings, **{key: _typed(value) for key, value in changes.items()}}
    if image_size is not None:
        ours = settings.get("image_size", known["image_size"].default)
        scaled = round(settings.get("resize", known["resize"].default) * image_size / ours)
        settings |= {"image_size": image_size, "resize": scaled}
    if resize is not None:
        settings["resize"] = resize
    return kind(**settings)


def _typed(value: Any) -> Any:
    """Return a value from a YAML file as the dataclasses want it."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        names = [field.name for field in fields(Colour)]
        unknown = sorted(set(value) - set(names))
        if unknown:
            raise ConfigError(
                f"data.transform_args.colour: no field {unknown[0]!r}; it has {names}"
            )
        return Colour(**value)
    return value

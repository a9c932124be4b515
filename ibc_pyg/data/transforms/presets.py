"""Transforms by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ibc_pyg.data.transforms.base import Transform
from ibc_pyg.data.transforms.colour import Colour
from ibc_pyg.data.transforms.photo import PhotoTransform
from ibc_pyg.data.transforms.plugged import make_plugged
from ibc_pyg.data.transforms.small import PlainTransform, SmallTransform
from ibc_pyg.errors import ConfigError, check_arguments, did_you_mean
from ibc_pyg.plugins import find_plug

_PRESETS: dict[str, tuple[type[Transform], dict[str, Any]]] = {
    # The paper: ImageNet's statistics, random erasing as proposed by Zhong et al.
    "imagenet": (PhotoTransform, {}),
    # The released code: its weights were trained with this first std (a typo for 0.229), and with
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
    # Matches the distortion of the data set's test images.
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
    """Return the names of all presets."""
    return list(_PRESETS)


def transform_preset(
    name: str, *, image_size: int | None = None, resize: int | None = None, **changes: Any
) -> Transform:
    """Make the transform called `name`.

    Args:
        name: One of `preset_names()`, or a reference to code of the user, which is imported.
        image_size: Height and width of the result in pixels; None takes the preset's.
        resize: Shorter side before the centre crop; None keeps the preset's ratio to
            `image_size`.
        **changes: Other fields of the preset's dataclass, such as `erase_probability=0.0`.

    Raises:
        ConfigError: If the preset or a field is unknown, or a value is out of range.
    """
    if name not in _PRESETS and (plug := find_plug("transform", name)) is not None:
        sizes = {"image_size": image_size, "resize": resize}
        given = {key: size for key, size in sizes.items() if size is not None}
        return make_plugged(plug, {**given, **changes})
    if name not in _PRESETS:
        raise ConfigError(f"data.transform: no preset {name!r}; {did_you_mean(name, _PRESETS)}")
    kind, settings = _PRESETS[name]
    check_arguments(kind, changes, what=f"data.transform_args: preset {name!r}")
    known = {field.name: field for field in fields(kind)}
    settings = {**settings, **{key: _typed(value) for key, value in changes.items()}}
    if image_size is not None:
        ours = settings.get("image_size", known["image_size"].default)
        scaled = round(settings.get("resize", known["resize"].default) * image_size / ours)
        settings |= {"image_size": image_size, "resize": scaled}
    if resize is not None:
        settings["resize"] = resize
    return kind(**settings)


def _typed(value: Any) -> Any:
    """Convert a value from a YAML file to the type of the dataclass field."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        check_arguments(Colour, value, what="data.transform_args: colour")
        return Colour(**value)
    return value

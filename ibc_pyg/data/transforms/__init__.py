"""Transforms of whole batches, with presets for photographs and for small images."""

from ibc_pyg.data.transforms.base import Images, Transform
from ibc_pyg.data.transforms.colour import Colour
from ibc_pyg.data.transforms.photo import PhotoTransform
from ibc_pyg.data.transforms.plugged import PluggedTransform
from ibc_pyg.data.transforms.presets import preset_names, transform_preset
from ibc_pyg.data.transforms.small import PlainTransform, SmallTransform

__all__ = [
    "Colour",
    "Images",
    "PhotoTransform",
    "PlainTransform",
    "PluggedTransform",
    "SmallTransform",
    "Transform",
    "preset_names",
    "transform_preset",
]

"""Pictures, and comparison of their pixels, for tests of decoding."""

import io

import numpy as np
import torch
from PIL import Image


def photo(height=40, width=56):
    """A smooth picture, which JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [y * 255 // height, x * 255 // width, (x + y) * 255 // (height + width)], -1
    ).astype(np.uint8)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def hwc(pixels):
    assert pixels.dtype == torch.uint8
    assert pixels.shape[0] == 3
    return pixels.permute(1, 2, 0).numpy()


def near(actual, expected, tolerance):
    difference = np.abs(hwc(actual).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= tolerance


RGB = photo()
GREY = RGB[:, :, 1]

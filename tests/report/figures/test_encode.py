from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ibc_pyg.report.figures.encode import palette_uri, thumb_uri, to_image


def decode(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(body, validate=True)))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (20, 30, 3)])
def test_small_pictures_keep_every_pixel(shape):
    picture = np.zeros(shape, np.uint8)
    picture[5:9, 3:20] = 200
    image = decode(thumb_uri(picture))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image), picture.squeeze())


def test_photographs_are_scaled_down_and_become_jpeg():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 400)[None, :, None] * np.ones((300, 1, 3))
    picture = np.clip(ramp + rng.normal(0, 6, (300, 400, 3)), 0, 255).astype(np.uint8)
    uri = thumb_uri(picture)
    image = decode(uri)
    assert (image.format, image.size) == ("JPEG", (128, 96))
    assert len(uri) < 6_000
    # JPEG is lossy: 8 grey levels on average are far less than the ramp of 255.
    expected = np.linspace(0, 255, 128)
    assert np.abs(np.asarray(image).mean((0, 2)) - expected).mean() < 8


def test_palette_picture_holds_the_colours_of_its_indices():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.integers(0, 256, (9, 7), dtype=np.uint8)
    image = decode(palette_uri(indices, palette)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(image), palette[indices])


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_other_arrays_are_refused(picture):
    with pytest.raises(ValueError, match="picture must be uint8"):
        to_image(picture)

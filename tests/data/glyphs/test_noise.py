"""The distortion against scipy's affine map, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ibc_pyg.data.glyphs.noise import Distortion, bilinear, distort

STILL = Distortion(degrees=0, scale=0, shear=0, shift=0, noise=0)


@pytest.fixture
def images() -> np.ndarray:
    # Smooth blobs: ink well inside the frame, like a centred character.
    blobs = np.zeros((20, 28, 28))
    blobs[:, 9:19, 10:18] = np.random.default_rng(0).integers(0, 256, (20, 10, 8))
    return ndimage.gaussian_filter(blobs, (0, 1, 1)).astype(np.uint8)


def test_zero_distortion_is_the_identity(images: np.ndarray) -> None:
    np.testing.assert_array_equal(distort(images, np.random.default_rng(0), STILL), images)


def test_chunks_leave_the_result_as_it_is(images: np.ndarray) -> None:
    whole = distort(images, np.random.default_rng(3))
    parts = distort(images, np.random.default_rng(3), chunk=7)
    np.testing.assert_array_equal(whole, parts)


def test_source_is_untouched(images: np.ndarray) -> None:
    before = images.copy()
    distort(images, np.random.default_rng(0))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("shape", [(28, 28), (11, 17)])
def test_bilinear_equals_scipy(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, shape, np.uint8)
    y = rng.uniform(-3, shape[0] + 2, (1, 500)).astype(np.float32)
    x = rng.uniform(-3, shape[1] + 2, (1, 500)).astype(np.float32)
    ours = bilinear(np.pad(image, ((1, 2), (1, 2)))[None], y, x)
    padded = np.pad(image.astype(float), 5)  # black around, also between the last pixel and there
    theirs = ndimage.map_coordinates(padded, [y[0] + 5, x[0] + 5], order=1)
    # float32 coordinates of about 30 are exact to 2e-6, times steps of 255.
    np.testing.assert_allclose(ours[0], theirs, atol=2e-3)


def test_one_known_turn() -> None:
    # A quarter turn either way: with 90 degrees as the range, compare with the drawn angle.
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 6:22, 12:16] = 200
    image[0, 6:9, 12:22] = 200
    only_turn = Distortion(degrees=90, scale=0, shear=0, shift=0, noise=0)
    ours = distort(image, np.random.default_rng(5), only_turn)[0].astype(float)
    angle = np.random.default_rng(5).uniform(-90, 90)
    turned = ndimage.rotate(image[0].astype(float), angle, reshape=False, order=1)
    back = ndimage.rotate(image[0].astype(float), -angle, reshape=False, order=1)
    errors = sorted(np.abs(ours - other).max() for other in (turned, back))
    assert errors[0] <= 1.0  # rounding to whole grey values
    assert errors[1] > 50  # the other direction is far off: the picture has no symmetry


def test_strengths_and_noise() -> None:
    grey = np.full((200, 28, 28), 128, np.uint8)
    noisy = distort(grey, np.random.default_rng(0), Distortion(0, 0, 0, 0, noise=0.05))
    assert abs(noisy.std() / 255 - 0.05) < 0.002  # 156,800 draws
    assert abs(noisy.mean() - 128) < 0.2
    dot = np.zeros((300, 28, 28), np.uint8)
    dot[:, 13:15, 13:15] = 255
    moved = distort(dot, np.random.default_rng(0), Distortion(0, 0, 0, shift=3, noise=0))
    centres = np.array([ndimage.center_of_mass(image) for image in moved]) - 13.5
    assert np.abs(centres).max() <= 3.05
    assert np.abs(centres).max(0).min() > 2.8

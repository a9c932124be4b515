from __future__ import annotations

import numpy as np
import pytest

from ibc_pyg.report import project_2d


def clusters(classes: int, each: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    x = rng.normal(size=(classes, width))[labels] + 0.2 * rng.normal(size=(len(labels), width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def test_neighbours_in_the_map_are_of_the_same_class():
    x, labels = clusters(classes=20, each=10, width=64)
    xy = project_2d(x, seed=0)
    assert xy.shape == (200, 2)
    assert xy.dtype == np.float32
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95


def test_the_same_seed_gives_the_same_map():
    x, _ = clusters(classes=5, each=8, width=16)
    np.testing.assert_array_equal(project_2d(x, seed=3), project_2d(x.copy(), seed=3))


def test_many_points_get_the_first_two_principal_components():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_001, 6)) * np.array([9.0, 5.0, 2.0, 1.0, 1.0, 1.0])
    xy = project_2d(x.astype(np.float32), seed=0)
    centred = x - x.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * scale[:2]
    # Signs of components are arbitrary; 1e-3 of a spread of 9 is float32 and a randomised solver.
    signs = np.sign((xy * expected).sum(0))
    np.testing.assert_allclose(xy * signs, expected, atol=1e-2)


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (2, 8), (4, 8), (6, 1), (40, 1), (6, 2)])
def test_few_points_or_dimensions_are_finite(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    xy = project_2d(x, seed=0)
    assert xy.shape == (shape[0], 2)
    assert np.isfinite(xy).all()


def test_equal_descriptors_meet_in_one_point():
    np.testing.assert_array_equal(project_2d(np.ones((30, 8), np.float32), seed=0), 0.0)


def test_what_is_no_finite_matrix_is_refused():
    for bad in (np.zeros(8, np.float32), np.full((6, 4), np.nan, np.float32)):
        with pytest.raises(ValueError, match="descriptors must be a finite matrix"):
            project_2d(bad, seed=0)

"""Ensembles: concatenated descriptors, and runs on different images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ibc_pyg.builders.data import Data
from ibc_pyg.data.splits import EvalSplit, split
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import RunError
from ibc_pyg.inference.ensemble import check_same_images, concatenate, mean_scores
from ibc_pyg.inference.extract import Descriptors, EvalDescriptors


def make_descriptors(width, seed, *, gallery=0):
    generator = torch.Generator().manual_seed(seed)

    def part(n, first):
        vectors = F.normalize(torch.randn(n, width, generator=generator), dim=1)
        return Descriptors(np.arange(first, first + n), vectors, torch.arange(n) % 3)

    return EvalDescriptors(part(9, 0), part(gallery, 9) if gallery else None)


def data(*, test=None, **changes):
    n = 12
    roles = np.where(np.arange(n) < 4, Role.TRAIN, Role.TEST).astype(np.uint8)
    table = ImageTable(
        "set",
        tuple(f"{row}.png" for row in range(n)),
        np.array([0, 0, 1, 1, *[2, 3] * 4]),
        roles,
        ("a", "b", "c", "d"),
        images=np.zeros((n, 2, 2, 1), np.uint8),
    )
    table = replace(table, **changes)
    splits = split(table, val_classes=None, val_fold=0, seed=0)
    if test is not None:
        splits = replace(splits, test=test)
    return Data(table, splits, transform_preset("none", image_size=2))


@pytest.mark.parametrize("gallery", [0, 7])
def test_cosine_of_an_ensemble_is_the_mean_cosine(gallery):
    members = [make_descriptors(width, width, gallery=gallery) for width in (4, 8, 5)]
    joined = concatenate(members)
    assert joined.queries.vectors.shape == (9, 17)
    torch.testing.assert_close(joined.queries.vectors.norm(dim=1), torch.ones(9))
    cosines = [m.queries.vectors @ m.candidates.vectors.T for m in members]
    torch.testing.assert_close(
        joined.queries.vectors @ joined.candidates.vectors.T, torch.stack(cosines).mean(0)
    )
    assert (joined.gallery is None) == (gallery == 0)


def test_order_of_classes_does_not_matter():
    other = data(class_names=("b", "a", "d", "c"), labels=np.array([1, 1, 0, 0, *[3, 2] * 4]))
    check_same_images(["a", "b", "c"], [data(), data(), other])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (data(name="cub"), "cub against set"),
        (data(paths=tuple(f"{row % 11}.jpg" for row in range(12))), "query image 4.jpg against"),
        (data(labels=np.array([0, 0, 1, 1, *[3, 2] * 4])), "4.png has another class"),
        (data(images=np.ones((12, 2, 2, 1), np.uint8)), "pixels of the query images differ"),
        (data(images=None), "one data set is in memory"),
        (data(test=EvalSplit(np.arange(4, 11))), "7 query images against 8"),
        (data(test=EvalSplit(np.arange(4, 12), np.arange(4, 12))), "a gallery of its own"),
    ],
)
def test_runs_on_other_images_are_named(other, expected):
    with pytest.raises(RunError, match=r"third and first .*one data set and split") as caught:
        check_same_images(["first", "second", "third"], [data(), data(), other])
    assert expected in str(caught.value)


def test_galleries_are_compared():
    first, other = (data(test=EvalSplit(np.arange(4, 6), np.arange(6, last))) for last in (12, 11))
    with pytest.raises(RunError, match="5 gallery images against 6"):
        check_same_images(["a", "b"], [first, other])


def test_mean_contains_metrics_only():
    scores = [
        {"R@1": 0.5, "NMI": 0.2, "queries": 9.0, "refine": "mpn", "refine_size": 7},
        {"R@1": 0.7, "queries": 9.0, "refine": "mpn", "refine_size": 7},
    ]
    assert mean_scores(scores) == pytest.approx({"R@1": 0.6})

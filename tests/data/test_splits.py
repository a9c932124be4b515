"""Which images train, choose and test."""

import numpy as np
import pytest

from ibc_pyg.data.splits import split
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import DatasetError, RunError


def table(labels, roles):
    labels, roles = np.asarray(labels), np.asarray(roles, dtype=np.uint8)
    names = tuple(f"class {number}" for number in range(int(labels.max()) + 1))
    return ImageTable("t", tuple(map(str, range(len(labels)))), labels, roles, names)


@pytest.fixture
def forty():
    labels = np.repeat(np.arange(40), 3)
    return table(labels, np.where(labels < 20, Role.TRAIN, Role.TEST))


def test_no_class_is_in_two_parts(forty):
    parts = split(forty, val_classes=0.2, val_fold=0, seed=0)
    classes = [
        set(forty.labels[rows]) for rows in (parts.train, parts.val.queries, parts.test.queries)
    ]
    assert [len(part) for part in classes] == [16, 4, 20]
    assert len(set.union(*classes)) == 40
    assert parts.val.gallery is None
    assert parts.test.gallery is None


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_folds_are_disjoint_and_cover_the_training_classes(forty, count):
    """Also where their number does not divide by that of the folds: 20 classes in 3 or 6."""
    folds = [
        split(forty, val_classes=1 / count, val_fold=fold, seed=3).val.queries
        for fold in range(count)
    ]
    assert sorted(np.concatenate(folds)) == list(range(60))
    sizes = [len(fold) // 3 for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_training_labels_have_no_gaps(forty):
    parts = split(forty, val_classes=0.2, val_fold=1, seed=0)
    assert sorted(set(parts.train_labels)) == list(range(16)) == list(range(parts.num_classes))
    for number in range(16):
        assert len(set(forty.labels[parts.train[parts.train_labels == number]])) == 1


def test_all_training_classes_without_validation(forty):
    parts = split(forty, val_classes=None, val_fold=0, seed=0)
    assert parts.val is None
    assert len(parts.train) == 60


def test_queries_and_gallery_apart():
    roles = [Role.TRAIN] * 2 + [Role.QUERY, Role.GALLERY, Role.QUERY, Role.GALLERY]
    parts = split(table([0, 1, 2, 2, 3, 3], roles), val_classes=None, val_fold=0, seed=0)
    assert parts.test.queries.tolist() == [2, 4]
    assert parts.test.gallery.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([Role.TEST] * 4, "no training images"),
        ([Role.TRAIN] * 2 + [Role.GALLERY] * 2, "no queries"),
        ([Role.TRAIN] * 2 + [Role.QUERY] * 2, "no gallery images"),
    ],
)
def test_an_empty_part(roles, message):
    with pytest.raises(DatasetError, match=message):
        split(table([0, 1, 2, 3], roles), val_classes=None, val_fold=0, seed=0)


def test_too_few_classes_to_hold_out():
    small = table([0, 1, 2, 3, 4], [Role.TRAIN] * 4 + [Role.TEST])
    with pytest.raises(DatasetError, match=r"data\.val_classes"):
        split(small, val_classes=0.1, val_fold=0, seed=0)


def test_training_on_all_images():
    parts = split(table([0, 0, 1, 1], [Role.TRAIN] * 4), val_classes=None, val_fold=0, seed=0)
    assert parts.test is None
    with pytest.raises(RunError, match="no test images"):
        parts.tested()


def test_a_given_validation_part_replaces_held_out_classes():
    roles = [Role.TRAIN] * 4 + [Role.VAL] * 4 + [Role.TEST] * 2
    given = table([0, 0, 1, 1, 2, 2, 3, 3, 4, 4], roles)
    parts = split(given, val_classes=0.1, val_fold=0, seed=0)
    assert parts.val.queries.tolist() == [4, 5, 6, 7]
    assert parts.train.tolist() == [0, 1, 2, 3]
    assert split(given, val_classes=None, val_fold=0, seed=0).val is None
    with pytest.raises(DatasetError, match=r"data\.val_fold: t has a validation part"):
        split(given, val_classes=0.1, val_fold=1, seed=0)
    one = table([0, 0, 1, 1, 2, 2, 4, 4], roles[:6] + roles[8:])
    with pytest.raises(DatasetError, match="validation part has one class"):
        split(one, val_classes=0.1, val_fold=0, seed=0)

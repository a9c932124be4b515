"""Training, validation and test images of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.table import ImageTable, Role, Rows
from ibc_pyg.errors import DatasetError


@dataclass(frozen=True)
class EvalSplit:
    """Rows of an evaluation: every query is searched for in the gallery.

    Attributes:
        queries: Row numbers, int64 `[Q]`.
        gallery: Row numbers, int64 `[G]`; None if the queries are each other's gallery.
    """

    queries: Rows
    gallery: Rows | None = None


@dataclass(frozen=True)
class Splits:
    """Row numbers of the splits of one table.

    Attributes:
        train: Rows to train on, int64 `[M]`.
        train_labels: Their classes, renumbered from 0 without gaps, int64 `[M]`.
        val: Images of held-out training classes; None if there are none.
        test: The test images.
    """

    train: Rows
    train_labels: npt.NDArray[np.int64]
    val: EvalSplit | None
    test: EvalSplit

    @property
    def num_classes(self) -> int:
        """Number of classes trained on."""
        return int(self.train_labels.max()) + 1


def split(table: ImageTable, *, val_classes: float | None, val_fold: int, seed: int) -> Splits:
    """Split a table by role, and hold out a share of the training classes.

    Args:
        table: Images with roles.
        val_classes: Share of the training classes to hold out, in (0, 1); None holds none out.
        val_fold: Index of the held-out fold, from 0. Folds are disjoint; where 1 / val_classes is
            an integer, together they contain all training classes.
        seed: Seed of the order of the classes, which is cut into folds.

    Raises:
        DatasetError: If there are no training or no test images, or the folds are too small.
    """
    train = table.where(Role.TRAIN)
    if not len(train):
        raise DatasetError(f"{table.name}: no training images; check data.root and the split")
    classes = np.unique(table.labels[train])
    val = None
    if val_classes is not None:
        held_out = _held_out(classes, val_classes, val_fold, seed)
        if len(held_out) < 2 or len(held_out) > len(classes) - 2:
            raise DatasetError(
                f"data.val_classes: {val_classes} holds out {len(held_out)} of the "
                f"{len(classes)} training classes of {table.name}; at least 2 must be held out "
                "and 2 must remain; change it or set select = last"
            )
        is_val = np.isin(table.labels[train], held_out)
        val = EvalSplit(train[is_val])
        train = train[~is_val]
    return splits_of(table, train, val)


def splits_of(table: ImageTable, train: Rows, val: EvalSplit | None) -> Splits:
    """Return the splits of a table whose training and held-out images are chosen.

    Raises:
        DatasetError: If there is nothing to test on.
    """
    _, train_labels = np.unique(table.labels[train], return_inverse=True)
    return Splits(train, train_labels.astype(np.int64), val, test_split(table))


def test_split(table: ImageTable) -> EvalSplit:
    """Return the test images: one set, or queries and a gallery.

    Raises:
        DatasetError: If there are no queries or no gallery images.
    """
    queries, gallery = table.where(Role.QUERY), table.where(Role.GALLERY)
    if not len(queries) or not len(gallery):
        raise DatasetError(f"{table.name}: no test images; check data.root and the split")
    if np.array_equal(queries, gallery):
        return EvalSplit(queries)
    return EvalSplit(queries, gallery)


def _held_out(classes: Rows, share: float, fold: int, seed: int) -> Rows:
    size = round(share * len(classes))
    order = np.random.default_rng(seed).permutation(classes)
    folds = int(1 / share)
    if fold == 0 or not math.isclose(folds * share, 1):
        return order[fold * size : (fold + 1) * size]
    # All classes are covered even if their number is not divisible by that of the folds.
    return np.array_split(order[size:], folds - 1)[fold - 1]

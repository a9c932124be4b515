"""Training, validation and test images of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.table import ImageTable, Role, Rows
from ibc_pyg.errors import DatasetError, RunError

NOT_TESTED = (
    "there are no test images, so nothing is tested: the data set has no test part, or "
    "data.options.test_fraction is 0"
)
"""Message about a run on all images."""


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
        val: Validation images: those of held-out training classes, or a given part; None if there
            are none.
        test: The test images; None if there are none.
    """

    train: Rows
    train_labels: npt.NDArray[np.int64]
    val: EvalSplit | None
    test: EvalSplit | None

    @property
    def num_classes(self) -> int:
        """Number of classes trained on."""
        return int(self.train_labels.max()) + 1

    def tested(self) -> EvalSplit:
        """Return the test images.

        Raises:
            RunError: If there are none.
        """
        if self.test is None:
            raise RunError(NOT_TESTED)
        return self.test


def split(table: ImageTable, *, val_classes: float | None, val_fold: int, seed: int) -> Splits:
    """Split a table by role, and hold out validation images.

    A given validation part is taken as it is; otherwise a share of the training classes is held
    out.

    Args:
        table: Images with roles.
        val_classes: Share of the training classes to hold out, in (0, 1); None holds none out, and
            leaves a given validation part unused.
        val_fold: Index of the held-out fold, from 0. Folds are disjoint; where 1 / val_classes is
            an integer, together they contain all training classes.
        seed: Seed of the order of the classes, which is cut into folds.

    Raises:
        DatasetError: If there are no training images, or the validation part is too small.
    """
    train = table.where(Role.TRAIN)
    if not len(train):
        raise DatasetError(f"{table.name}: no training images; check data.root and the split")
    val = None
    given = table.where(Role.VAL)
    if val_classes is not None and len(given):
        _check_given(table, given, val_fold)
        val = EvalSplit(given)
    elif val_classes is not None:
        classes = np.unique(table.labels[train])
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
        DatasetError: As `test_split`.
    """
    _, train_labels = np.unique(table.labels[train], return_inverse=True)
    return Splits(train, train_labels.astype(np.int64), val, test_split(table))


def test_split(table: ImageTable) -> EvalSplit | None:
    """Return the test images: one set, or queries and a gallery; None without either.

    Raises:
        DatasetError: If there are queries but no gallery, or a gallery but no queries.
    """
    queries, gallery = table.where(Role.QUERY), table.where(Role.GALLERY)
    if not len(queries) and not len(gallery):
        return None
    if not len(queries) or not len(gallery):
        lacking = "queries" if len(gallery) else "gallery images"
        raise DatasetError(f"{table.name}: no {lacking}; check data.root and the split")
    if np.array_equal(queries, gallery):
        return EvalSplit(queries)
    return EvalSplit(queries, gallery)


def _check_given(table: ImageTable, rows: Rows, val_fold: int) -> None:
    if val_fold:
        raise DatasetError(
            f"data.val_fold: {table.name} has a validation part, which is not cut into folds; set "
            "data.val_fold = 0"
        )
    if len(np.unique(table.labels[rows])) < 2:
        raise DatasetError(
            f"{table.name}: the validation part has one class, but selection needs two; add one, "
            "or set select = last"
        )


def _held_out(classes: Rows, share: float, fold: int, seed: int) -> Rows:
    size = round(share * len(classes))
    order = np.random.default_rng(seed).permutation(classes)
    folds = int(1 / share)
    if fold == 0 or not math.isclose(folds * share, 1):
        return order[fold * size : (fold + 1) * size]
    # All classes are covered even if their number is not divisible by that of the folds.
    return np.array_split(order[size:], folds - 1)[fold - 1]

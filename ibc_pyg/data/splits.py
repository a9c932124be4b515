"""Which images train, which choose the epoch, and which test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ibc_pyg.data.table import ImageTable, Role, Rows
from ibc_pyg.errors import DatasetError


@dataclass(frozen=True)
class Probe:
    """Images to be scored: each query against the gallery.

    Attributes:
        queries: Row numbers, int64 `[Q]`.
        gallery: Row numbers, int64 `[G]`; None if the queries are each other's gallery.
    """

    queries: Rows
    gallery: Rows | None = None


@dataclass(frozen=True)
class Splits:
    """Row numbers of one table.

    Attributes:
        train: Rows to train on, int64 `[M]`.
        train_labels: Their classes, renumbered from 0 without gaps, int64 `[M]`.
        val: Held-out training classes; None if all are trained on.
        test: The test images.
    """

    train: Rows
    train_labels: npt.NDArray[np.int64]
    val: Probe | None
    test: Probe

    @property
    def num_classes(self) -> int:
        """Number of classes trained on."""
        return int(self.train_labels.max()) + 1


def split(table: ImageTable, *, val_classes: float | None, val_fold: int, seed: int) -> Splits:
    """Divide a table by role, and hold out a share of the training classes.

    Args:
        table: Images with roles.
        val_classes: Share of the training classes to hold out, in (0, 1); None holds none out.
        val_fold: Which of the disjoint shares is held out, from 0. Where 1 / val_classes is a
            whole number, the shares together are all training classes.
        seed: Draws the order of the classes that the shares are cut from.

    Raises:
        DatasetError: If there is nothing to train on, or nothing to test on.
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
                f"data.val_classes = {val_classes} holds out {len(held_out)} of the "
                f"{len(classes)} training classes of {table.name}; at least 2 must be held out "
                "and 2 be left: change it, or set select = last"
            )
        is_val = np.isin(table.labels[train], held_out)
        val = Probe(train[is_val])
        train = train[~is_val]
    _, train_labels = np.unique(table.labels[train], return_inverse=True)
    return Splits(train, train_labels.astype(np.int64), val, test_probe(table))


def test_probe(table: ImageTable) -> Probe:
    """Return the test images: one set, or queries and gallery.

    Raises:
        DatasetError: If there are no queries, or nothing to find them in.
    """
    queries, gallery = table.where(Role.QUERY), table.where(Role.GALLERY)
    if not len(queries) or not len(gallery):
        raise DatasetError(f"{table.name}: no test images; check data.root and the split")
    if np.array_equal(queries, gallery):
        return Probe(queries)
    return Probe(queries, gallery)


def _held_out(classes: Rows, share: float, fold: int, seed: int) -> Rows:
    size = round(share * len(classes))
    order = np.random.default_rng(seed).permutation(classes)
    folds = int(1 / share)
    if fold == 0 or not math.isclose(folds * share, 1):
        return order[fold * size : (fold + 1) * size]
    # Together the folds are all classes, though their number may not divide by that of the folds.
    return np.array_split(order[size:], folds - 1)[fold - 1]

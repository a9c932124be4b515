"""Comparison of a data set with the images that a run has recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ibc_pyg.builders.data import load_images
from ibc_pyg.config import DataConfig
from ibc_pyg.data.annotations.folders import present
from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.errors import RunError, printable, shown
from ibc_pyg.runs.split_record import SplitRecord

_logger = logging.getLogger(__name__)


def check_same_data(config: DataConfig, record: SplitRecord) -> None:
    """Check that the images of a run that is resumed are there and of the same classes.

    Images that were added are not used, and named in the log. Images that are missing are accepted
    with `data.on_error` "skip", as long as each training class has another one.

    Args:
        config: Where the data set is now.
        record: Images of the run, as files.

    Raises:
        DatasetError: If the data set cannot be read.
        RunError: If images are missing or have another class; the first one is named.
    """
    then = record.table
    assert then.root is not None
    there = present(then.root, then.paths)
    now = load_images(replace(config, allow_partial=True)) if there.any() else None
    if not there.all():
        _check_missing(config, then, there, [] if now is None else _new_classes(then, now))
    if now is not None:
        _check_classes(then, now)


def _check_missing(
    config: DataConfig,
    then: ImageTable,
    there: np.ndarray[tuple[int], np.dtype[np.bool_]],
    new_classes: Sequence[str],
) -> None:
    gone = np.flatnonzero(~there)
    row = int(gone[0])
    label = int(then.labels[row])
    problem = (
        f"{len(gone):,} of the {len(then):,} images of the run are missing under "
        f"{printable(then.root or '')}, the first {shown(then.paths[row], 200)} of class "
        f"{shown(then.class_names[label])}"
    )
    if new_classes:
        first = ", ".join(map(shown, new_classes[:5]))
        problem += f", while the run does not know {first}{', ...' if new_classes[5:] else ''}"
    training = (then.roles & Role.TRAIN.value) > 0
    lost = np.setdiff1d(then.labels[training], then.labels[training & there])
    if len(lost):
        names = ", ".join(shown(then.class_names[each]) for each in lost[:5])
        raise RunError(
            f"{problem}; no image is left of {len(lost)} training classes ({names}): restore them "
            "under their names, give another folder with --data.root, or start a new run"
        )
    if config.on_error == "stop":
        raise RunError(
            f"{problem}; restore them, give another folder with --data.root, or go on without "
            "them: --data.on_error skip"
        )
    _logger.warning("%s; going on without them", problem)


def _new_classes(then: ImageTable, now: ImageTable) -> list[str]:
    known = {then.class_names[label] for label in np.unique(then.labels)}
    names = [now.class_names[label] for label in np.unique(now.labels)]
    return [name for name in names if name not in known]


def _check_classes(then: ImageTable, now: ImageTable) -> None:
    before = {
        path: then.class_names[label]
        for path, label in zip(then.paths, then.labels.tolist(), strict=True)
    }
    added = 0
    for path, label in zip(now.paths, now.labels.tolist(), strict=True):
        name = before.get(path)
        if name is None:
            added += 1
        elif name != now.class_names[label]:
            raise RunError(
                f"image {shown(path, 200)} has class {shown(now.class_names[label])}, but "
                f"{shown(name)} when the run was started; restore the class, or start a new run"
            )
    if added:
        _logger.warning(
            "%s: %d images are not of the run, which goes on with those that it was started with",
            now.name,
            added,
        )

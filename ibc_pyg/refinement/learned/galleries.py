"""Descriptors of training classes, by networks that were not trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ibc_pyg.config import Config
from ibc_pyg.data.table import Rows
from ibc_pyg.errors import RunError
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import extract
from ibc_pyg.inference.trained import Trained
from ibc_pyg.refinement.learned.fit import Gallery


def fold_config(config: Config, fold: int, folds: int) -> Config:
    """Return the experiment of a run with a fold of the training classes held out.

    Args:
        config: Configuration of the run.
        fold: Number of the fold, from 0.
        folds: Number of folds, at least 2.
    """
    data = replace(config.data, val_classes=1 / folds, val_fold=fold)
    track = replace(config.track, wandb="disabled", report=False)
    return replace(config, data=data, track=track, select="val", retrain=False)


def held_out_gallery(trained: Trained) -> Gallery:
    """Embed the held-out training classes of a run.

    Raises:
        RunError: If the run held none out.
        UserError: If images are missing.
    """
    images = EvalSet(trained)
    if images.splits.val is None:
        raise RunError(
            f"{trained.run.path} held no training classes out (select is "
            f"{trained.config.select}); name runs with select: val"
        )
    rows = images.splits.val.queries
    if images.splits.val.gallery is not None:
        rows = np.concatenate([rows, images.splits.val.gallery])
    return _gallery(trained, images, rows)


def training_gallery(trained: Trained) -> Gallery:
    """Embed the classes that a run was trained on.

    Their neighbourhoods are purer than those of unseen classes.

    Raises:
        UserError: If images are missing.
    """
    images = EvalSet(trained)
    return _gallery(trained, images, images.splits.train)


def _gallery(trained: Trained, images: EvalSet, rows: Rows) -> Gallery:
    found = extract(
        trained.fabric,
        trained.model,
        images.data,
        rows,
        batch_size=trained.config.evaluate.batch_size,
    )
    return Gallery(found.vectors.float(), found.labels.long())

"""A synthetic Cars196: `cars_annos.mat` with `car_ims/`, or the devkit with two image folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from ibc_pyg.data.sample.draw import save_jpeg
from ibc_pyg.data.sets.cars import CLASSES, TRAIN_CLASSES

BOX = {"bbox_x1": 10, "bbox_y1": 10, "bbox_x2": 70, "bbox_y2": 60}
Structure = npt.NDArray[Any]


def _structure(rows: list[dict[str, object]]) -> Structure:
    """Return a 1 x n MATLAB structure array."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def _names() -> Structure:
    """Return a 1 x 196 MATLAB cell array."""
    names = np.empty((1, CLASSES), dtype=object)
    names[0] = [f"Sample Car {number} Sedan 2012" for number in range(1, CLASSES + 1)]
    return names


def _labels(classes: int, images: int) -> list[int]:
    used = [first + n for first in (1, 1 + TRAIN_CLASSES) for n in range(classes)]
    return [number for number in used for _ in range(images)]


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write the layout of `cars_annos.mat` and `car_ims/`."""
    rows: list[dict[str, object]] = []
    for index, label in enumerate(_labels(classes, images), start=1):
        path = f"car_ims/{index:06d}.jpg"
        save_jpeg(out / path, label, index, seed)
        rows.append({"relative_im_path": path, **BOX, "class": label, "test": index % 2})
    content = {"annotations": _structure(rows), "class_names": _names()}
    savemat(out / "cars_annos.mat", content, do_compression=True)


def write_devkit(out: Path, classes: int, images: int, seed: int) -> None:
    """Write the layout of `devkit/`, `cars_train/` and `cars_test/`."""
    parts: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for index, label in enumerate(_labels(classes, images)):
        part = "test" if index % 2 else "train"
        name = f"{len(parts[part]) + 1:05d}.jpg"
        save_jpeg(out / f"cars_{part}" / name, label, index, seed)
        parts[part].append({**BOX, "class": label, "fname": name})
    devkit = out / "devkit"
    devkit.mkdir()
    savemat(devkit / "cars_meta.mat", {"class_names": _names()})
    savemat(devkit / "cars_train_annos.mat", {"annotations": _structure(parts["train"])})
    labelled = {"annotations": _structure(parts["test"])}
    savemat(out / "cars_test_annos_withlabels.mat", labelled)
    for row in parts["test"]:
        row.pop("class")
    savemat(devkit / "cars_test_annos.mat", {"annotations": _structure(parts["test"])})

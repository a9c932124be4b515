"""A synthetic CUB-200-2011: `images.txt` and related lists, `images/<class>/*.jpg`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg
from ibc_pyg.data.sets.cub import CLASSES, TRAIN_CLASSES


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write the set below `out / "CUB_200_2011"`, the layout of the archive."""
    base = out / "CUB_200_2011"
    names = {number: f"{number:03d}.Sample_Bird_{number}" for number in range(1, CLASSES + 1)}
    used = [first + n for first in (1, 1 + TRAIN_CLASSES) for n in range(classes)]
    listed = [
        (number, f"{names[number]}/Sample_Bird_{number}_{index:04d}_{number * 1000 + index}.jpg")
        for number in used
        for index in range(images)
    ]
    for image, (number, path) in enumerate(listed):
        save_jpeg(base / "images" / path, number, image, seed)
    tables: dict[str, Iterable[tuple[int, str | int]]] = {
        "classes.txt": names.items(),
        "images.txt": [(i, path) for i, (_, path) in enumerate(listed, 1)],
        "image_class_labels.txt": [(i, number) for i, (number, _) in enumerate(listed, 1)],
        "train_test_split.txt": [(i, i % 2) for i in range(1, len(listed) + 1)],
        "bounding_boxes.txt": [(i, "10.0 10.0 60.0 50.0") for i in range(1, len(listed) + 1)],
    }
    for name, rows in tables.items():
        text = "".join(f"{key} {value}\n" for key, value in rows)
        (base / name).write_text(text, encoding="utf-8")

"""A synthetic GroceryStoreDataset: three lists, `classes.csv`, and nested folders."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg
from ibc_pyg.data.sets.grocery_store import CLASSES, TRAIN_CLASSES

PARTS = ("train", "val", "test")
TITLES = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    "Iconic Image Path (str),Product Description Path (str)"
)


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write the set; the images of a class are assigned to the three lists in turn."""
    lines: dict[str, list[str]] = {part: [] for part in PARTS}
    for number in (first + n for first in (0, TRAIN_CLASSES) for n in range(classes)):
        for index in range(images):
            part = PARTS[index % len(PARTS)]
            path = f"{part}/Fruit/Sample-{number}/Sample-{number}_{index:03d}.jpg"
            save_jpeg(out / path, number, index, seed)
            lines[part].append(f"{path}, {number}, {number // 2}")
    for part, rows in lines.items():
        (out / f"{part}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    names = [f"Sample-{n},{n},Coarse-{n // 2},{n // 2},/i.jpg,/d.txt" for n in range(CLASSES)]
    (out / "classes.csv").write_text("\n".join([TITLES, *names]) + "\n", encoding="utf-8")

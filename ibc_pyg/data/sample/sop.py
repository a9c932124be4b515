"""A synthetic Stanford Online Products: `Ebay_train.txt`, `Ebay_test.txt`, `<group>_final/`."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg
from ibc_pyg.data.sets.sop import COLUMNS, TRAIN_CLASSES

GROUPS = ("bicycle", "cabinet", "chair", "coffee_maker")


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write the set below `out / "Stanford_Online_Products"`, the layout of the archive."""
    base = out / "Stanford_Online_Products"
    image = 0
    for name, first in (("Ebay_train.txt", 1), ("Ebay_test.txt", 1 + TRAIN_CLASSES)):
        lines = [COLUMNS]
        for number in range(first, first + classes):
            group = number % len(GROUPS)
            for index in range(images):
                image += 1
                path = f"{GROUPS[group]}_final/{111085122871 + number}_{index}.JPG"
                save_jpeg(base / path, number, index, seed)
                lines.append(f"{image} {number} {group + 1} {path}")
        (base / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

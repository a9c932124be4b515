"""A synthetic In-Shop Clothes: `Eval/list_eval_partition.txt`, `img/WOMEN/<kind>/<item>/*.jpg`."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg
from ibc_pyg.data.sets.inshop import COLUMNS

KINDS = ("WOMEN/Dresses", "WOMEN/Tees_Tanks", "MEN/Denim")
VIEWS = ("1_front", "2_side", "3_back", "4_full", "7_additional")


def write(out: Path, classes: int, images: int, seed: int, *, folder: str = "img") -> None:
    """Write the set; half of the images of a test class, rounded down, are queries."""
    lines = []
    for number in range(1, 2 * classes + 1):
        for index in range(images):
            view = f"{index // len(VIEWS) + 1:02d}_{VIEWS[index % len(VIEWS)]}.jpg"
            inner = f"{KINDS[number % len(KINDS)]}/id_{number:08d}/{view}"
            save_jpeg(out / folder / inner, number, index, seed, size=(64, 64))
            status = "train"
            if number > classes:
                status = "query" if index < images // 2 else "gallery"
            lines.append(f"img/{inner:<66} id_{number:08d} {status:<8}")
    (out / "Eval").mkdir()
    text = "\n".join([str(len(lines)), COLUMNS, *lines]) + "\n"
    (out / "Eval" / "list_eval_partition.txt").write_text(text, encoding="utf-8")

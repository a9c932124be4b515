"""A synthetic CSV data set: `images.csv` with the columns `path,label,split`."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.data.sample.draw import save_jpeg


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write `images.csv`; half of the classes are for training, half for test."""
    lines = ["path,label,split"]
    for number in range(2 * classes):
        for index in range(images):
            path = f"pictures/{number:03d}_{index:03d}.jpg"
            save_jpeg(out / path, number, index, seed)
            lines.append(f"{path},class {number},{'train' if number < classes else 'test'}")
    (out / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

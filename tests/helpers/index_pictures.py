"""Tiny pictures, and a fast model with a count of the pictures that pass through it."""

from pathlib import Path

import numpy as np
from PIL import Image

import ibc_pyg

FINISHED_RUN = Path(__file__).resolve().parents[1] / "fixtures" / "finished_run"


def save_picture(path, seed):
    """Write a PNG of 10 x 10 random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 10), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save_pictures(folder, number, classes=("apple", "pear", "plum"), first_seed=0):
    """Write pictures into one folder per class, in turn; return their paths."""
    return [
        save_picture(folder / classes[i % len(classes)] / f"{i:04d}.png", first_seed + i)
        for i in range(number)
    ]


class CountingModel:
    """The small finished run, opened, with a count of the pictures that were embedded."""

    def __init__(self):
        self.embedder = ibc_pyg.load(FINISHED_RUN)
        self.forwarded = 0
        forward = self.embedder._forward

        def counting(rows, pixels):
            self.forwarded += len(rows)
            return forward(rows, pixels)

        self.embedder._forward = counting

    def since(self):
        """Return the count, which begins again at 0."""
        count, self.forwarded = self.forwarded, 0
        return count


def content(index):
    """Return all that an index says, without what changes from build to build."""
    with index._catalogue.reading() as sql:
        tables = {
            table: sorted(map(tuple, sql.execute(query)), key=repr)
            for table, query in {
                "contents": "SELECT row, sha256, crc32, uses FROM contents",
                "names": "SELECT root, path, row, size, label, removed FROM names",
                "skipped": "SELECT root, path, size, reason FROM skipped",
                "meta": "SELECT key, value FROM meta WHERE key IN ('rows', 'complete', 'model')",
            }.items()
        }
    return tables | {"vectors": index.vectors.tobytes()}

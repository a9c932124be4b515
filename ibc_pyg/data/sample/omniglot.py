"""A synthetic Omniglot: two zip archives of black-and-white PNG drawings, 105 x 105 pixels."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ibc_pyg.data.sets.omniglot import TEST, TEST_ALPHABETS, TRAIN

SIDE = 105


def _drawing(label: int, index: int, seed: int) -> bytes:
    """Return a PNG: the strokes of the class with jittered points."""
    strokes = np.random.default_rng([seed, label]).uniform(15, 90, (3, 4, 2))
    shift = np.random.default_rng([seed, label, index]).normal(0, 3, strokes.shape)
    image = Image.new("1", (SIDE, SIDE), 1)
    pen = ImageDraw.Draw(image)
    for stroke in strokes + shift:
        pen.line([(float(x), float(y)) for x, y in stroke], fill=0, width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write(out: Path, classes: int, images: int, seed: int) -> None:
    """Write `images_background_small1.zip` for training and `..._small2.zip` for test."""
    for part, alphabets, first in ((TRAIN, ("Balinese", "Greek"), 0), (TEST, TEST_ALPHABETS, 500)):
        with zipfile.ZipFile(out / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(classes):
                alphabet = alphabets[number % len(alphabets)]
                folder = f"{part}/{alphabet}/character{number // len(alphabets) + 1:02d}"
                for index in range(images):
                    name = f"{folder}/{first + number:04d}_{index + 1:02d}.png"
                    archive.writestr(name, _drawing(first + number, index, seed))

"""Golden pictures with their descriptors, and parity of exported networks from file bytes."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ibc_pyg.data.images.pictures import read_picture
from ibc_pyg.data.transforms.pixels import fit_shape
from ibc_pyg.errors import RunError
from ibc_pyg.export.descriptor import preprocessing
from ibc_pyg.export.pillow_input import read_pixels
from ibc_pyg.files import file_digest, write_atomically
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.inference.trained import Trained

TOLERANCE = 1e-4
"""Largest difference of a coordinate of unit vectors between two ways to compute them."""
BATCHES = (1, 7, 64)
_SHAPES = {"a.png": (240, 320, 3), "b.png": (300, 220, 4), "c.png": (260, 260, 1)}

Array = npt.NDArray[np.float32]
Network = Callable[[Array], Array]
"""Maps pixels `[B, C, S, S]` in [0, 255] to descriptors `[B, D]`."""


def write_pictures(folder: Path) -> list[Path]:
    """Write a colour, a partly transparent and a grey picture, drawn from a seed; no one's work."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (height, width, channels) in _SHAPES.items():
        coarse = rng.integers(0, 256, (12, 12, channels), np.uint8)
        planes = [
            np.asarray(Image.fromarray(coarse[:, :, c]).resize((width, height)))
            for c in range(channels)
        ]
        pixels = np.stack(planes, -1).squeeze()  # [H, W, C] or [H, W]
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "png")
        write_atomically(folder / name, content.getvalue())
    return [folder / name for name in _SHAPES]


def describe_pictures(embedder: Embedder, files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of golden.json: for each picture its hash and its descriptor."""
    vectors = embedder.embed(list(files))
    return {
        "tolerance": TOLERANCE,
        "pictures": [
            {
                "file": file.name,
                "sha256": file_digest(file),
                "norm": float(np.linalg.norm(vector)),
                "first": [float(each) for each in vector[:8]],
                "descriptor": [float(each) for each in vector],
            }
            for file, vector in zip(files, np.asarray(vectors), strict=True)
        ],
    }


def network_of(module: Callable[[Tensor], Tensor]) -> Network:
    """Return a module of torch as a function of arrays, without gradient."""

    def network(pixels: Array) -> Array:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(pixels)))

    return network


def torch_pixels(embedder: Embedder, files: Sequence[Path]) -> Array:
    """Return files decoded, scaled and cropped as by the model, `[N, C, S, S]` in [0, 255]."""
    parts = []
    for file in files:
        picture = read_picture(file, file.name)  # [3, H, W]
        if embedder.image_shape is not None:
            picture = fit_shape(picture, *embedder.image_shape)  # [C, h, w]
        parts.append(embedder.transform.fit([picture]).permute(0, 3, 1, 2))  # [1, C, S, S]
    return np.ascontiguousarray(np.concatenate([each.numpy() for each in parts]), np.float32)


def pillow_pixels(files: Sequence[Path], spec: dict[str, Any]) -> Array:
    """Return the same by numpy and Pillow alone."""
    return np.concatenate([read_pixels(file, spec) for file in files])  # [N, C, S, S]


def largest_difference(
    network: Network, embedder: Embedder, files: Sequence[Path], pixels: Array
) -> float:
    """Return the largest difference of a coordinate to the model, over the sizes in `BATCHES`.

    Args:
        network: What is compared.
        embedder: The model, which reads the files itself.
        files: N pictures.
        pixels: The input of `network` for these, `[N, C, S, S]`.
    """
    expected = np.asarray(embedder.embed(list(files)))  # [N, D]
    worst = 0.0
    for size in BATCHES:
        rows = np.arange(size) % len(files)
        found = network(pixels[rows])  # [B, D]
        if not np.isfinite(found).all():
            return math.inf
        worst = max(worst, float(np.abs(found - expected[rows]).max()))
    return worst


def check_parity(
    network: Network, embedder: Embedder, files: Sequence[Path], pixels: Array
) -> float:
    """Return the largest difference.

    Raises:
        RunError: If it is more than `TOLERANCE`.
    """
    worst = largest_difference(network, embedder, files, pixels)
    if worst > TOLERANCE:
        raise RunError(
            f"the exported network differs from the model by {worst:.2g}, more than {TOLERANCE}; "
            "nothing is written"
        )
    return worst


def check_run(trained: Trained, network: Network) -> float:
    """Return the largest difference of an exported network to its run, from the bytes of files.

    Raises:
        RunError: If it is more than `TOLERANCE`.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures = write_pictures(Path(folder))
        pixels = pillow_pixels(pictures, preprocessing(trained))
        return check_parity(network, Embedder.of(trained).to("cpu"), pictures, pixels)

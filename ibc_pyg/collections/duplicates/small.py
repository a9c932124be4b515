"""Small grey pictures and their perceptual hashes, kept in a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.errors import DatasetError
from ibc_pyg.threads import map_ahead

SIDE = 64
"""Pixels of a side of a small picture, which is square."""
FLAT = 2.0
"""Pictures whose grey values deviate less than this, of 255, show nothing that can be compared."""

Hashes = npt.NDArray[np.uint64]
Grey = npt.NDArray[np.uint8]
Source = Path | npt.NDArray[np.uint8]
"""A file, or the pixels `[H, W, C]` of a picture in memory."""


class SmallPictures:
    """Small grey pictures of a collection, 4 KiB each in a temporary file.

    Use it as a context manager; the file has no name and vanishes at the end.

    Attributes:
        hashes: Perceptual hashes, uint64 `[N]`.
        mirrored: Perceptual hashes of the mirrored pictures, uint64 `[N]`.
        usable: Which pictures can be read and are not flat, bool `[N]`.
        unread: Places of the pictures that cannot be read.
    """

    def __init__(self) -> None:
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`
        self.hashes = self.mirrored = np.empty(0, np.uint64)
        self.usable = np.empty(0, np.bool_)
        self.unread: list[int] = []

    @classmethod
    def read(
        cls,
        pictures: Iterable[Source],
        number: int,
        done: Callable[[int], None] | None = None,
    ) -> Self:
        """Read and scale pictures, on several threads.

        Args:
            pictures: The pictures; one that cannot be decoded is not usable.
            number: Number N of pictures.
            done: Called with the number of pictures done.
        """
        self = cls()
        self.hashes, self.mirrored = np.zeros(number, np.uint64), np.zeros(number, np.uint64)
        self.usable = np.zeros(number, np.bool_)
        threads = decoding_threads()
        with ThreadPoolExecutor(threads) as pool:
            for place, small in enumerate(map_ahead(pool, _try, pictures, 8 * threads)):
                if small is None:
                    self.unread.append(place)
                    small = np.zeros((SIDE, SIDE), np.uint8)
                elif small.std() >= FLAT:
                    self.usable[place] = True
                    self.hashes[place] = perceptual_hash(small)
                    self.mirrored[place] = perceptual_hash(small[:, ::-1])
                self._file.write(small.tobytes())
                if done is not None:
                    done(place + 1)
        self._file.flush()
        return self

    def __len__(self) -> int:
        """Return the number N of pictures."""
        return len(self.hashes)

    def __getitem__(self, places: npt.NDArray[np.int64]) -> Grey:
        """Return pictures, uint8 `[n, SIDE, SIDE]`."""
        size = SIDE * SIDE
        parts = [os.pread(self._file.fileno(), size, place * size) for place in places.tolist()]
        return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, SIDE, SIDE)  # [n, S, S]

    def __enter__(self) -> Self:
        """Return the pictures."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()


def small_picture(source: Source) -> Grey:
    """Return a picture in grey and scaled to a square, uint8 `[SIDE, SIDE]`.

    Raises:
        DatasetError: If it cannot be decoded.
    """
    if isinstance(source, Path):
        pixels = decode_image(source, shrink_to=2 * SIDE).permute(1, 2, 0).contiguous().numpy()
    else:
        pixels = source[..., 0] if source.shape[-1] == 1 else source  # [H, W] or [H, W, 3]
    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))  # [S, S]


def perceptual_hash(small: Grey) -> int:
    """Return the signs of the 64 lowest frequencies of a picture, as pHash does.

    Bit i tells whether coefficient i of the cosine transform of 32 x 32 pixels is above their
    median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").
    """
    half = small.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))  # [32, 32]
    low = dctn(half)[:8, :8].ravel()  # [64]
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")


def distances(left: Hashes, right: Hashes) -> npt.NDArray[np.uint8]:
    """Return the numbers of different bits of pairs of hashes, uint8 `[P]`."""
    different: npt.NDArray[np.uint8] = np.bitwise_count(left ^ right)
    return different


def _try(source: Source) -> Grey | None:
    try:
        return small_picture(source)
    except DatasetError:
        return None

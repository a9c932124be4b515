"""Memory-mapped cache of decoded and resized images."""

from __future__ import annotations

import logging
import os
import shutil
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from ibc_pyg.data.images.cache_dir import check_private, make_private
from ibc_pyg.data.images.cache_index import (
    PIXELS,
    CacheIndex,
    StaleCacheError,
    content_key,
    load_index,
    save_index,
)
from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.images.sources import ImageSource, OnError
from ibc_pyg.data.table import ImageTable
from ibc_pyg.data.transforms.pixels import resize_shorter
from ibc_pyg.errors import DatasetError

_logger = logging.getLogger(__name__)
_DAMAGED = "damaged"
_CHUNK = 64  # images decoded at once; bounds the memory of the build

Progress = Callable[[int, int], None]
"""Called with the number of images done and their total."""


def open_cache(
    table: ImageTable,
    resize: int,
    folder: Path,
    *,
    on_error: OnError = "stop",
    progress: Progress | None = None,
    threads: int | None = None,
) -> ImageCache:
    """Open the cache of `table`; build it first if it is missing, damaged or out of date.

    Images whose shorter side is longer than `resize` are scaled to it, as in the first step of
    the test transform; training crops are then taken from the scaled image. The cache is stored in
    `folder / NAME-RESIZE-KEY`, where KEY is a hash of `resize` and of the names, sizes and
    modification times of the files. Of several processes, one builds it and the others wait.

    Args:
        table: The images; a subset can be read from the same cache.
        resize: Shorter side in pixels.
        folder: Folder of all caches.
        on_error: "stop" raises an error that names the images that cannot be read; "skip" leaves
            them to the loader, which lists them.
        progress: Called repeatedly while the cache is built.
        threads: Decoding threads; None takes one per CPU core.

    Raises:
        DatasetError: If images cannot be read, the cache cannot be written, or others can write
            into it.
    """
    key = content_key(table, resize)
    place = folder / f"{table.name}-{resize}-{key[:16]}"
    try:
        make_private(place.parent)
        if place.exists():
            check_private(place)
        with FileLock(place.with_name(place.name + ".lock")):
            index = _open_or_build(place, key, table, resize, progress, threads)
    except OSError as error:
        raise DatasetError(
            f"{place}: the image cache cannot be written ({error.strerror or error}); free some "
            "space, choose another folder with IBC_PYG_CACHE, or disable it: --data.cache false"
        ) from None
    if index.broken and on_error == "stop":
        reasons = list(index.broken.values())
        more = f", and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        raise DatasetError(
            f"{table.name}: {len(reasons)} of {len(table)} images cannot be read: "
            + "; ".join(reasons[:5])
            + more
        )
    return ImageCache(place, index, table, resize)


class ImageCache(ImageSource):
    """Images in the pixel file of a cache; made by `open_cache`.

    Each image is compared with its checksum when a process first reads it. A damaged image is
    decoded from its file instead, and the cache is rebuilt when it is next opened.
    """

    def __init__(self, place: Path, index: CacheIndex, table: ImageTable, resize: int) -> None:
        self.place = place
        self.index = index
        self._table = table
        self._resize = resize
        self._row_of_path = {path: row for row, path in enumerate(table.paths)}
        self._checked = np.zeros(len(table), dtype=bool)
        self._pixels = self._map()

    def source(self, table: ImageTable) -> ImageSource:
        """Return the source of the images of `table`, the cached table or a subset of it.

        Raises:
            DatasetError: If an image of `table` is not in the cache.
        """
        missing = next((path for path in table.paths if path not in self._row_of_path), None)
        if missing is not None:
            raise DatasetError(
                f"{missing}: not in the image cache {self.place}; delete the cache to rebuild it"
            )
        return _Part(self, [self._row_of_path[path] for path in table.paths])

    def read(self, row: int) -> Tensor:
        """Return one image of the cached table, uint8 `[3, H, W]`.

        Raises:
            DatasetError: If the image could not be read when the cache was built.
        """
        height, width = self.index.sizes[row].tolist()
        if not height:
            raise DatasetError(self.index.broken[row])
        start = int(self.index.offsets[row])
        flat = self._pixels[start : start + height * width * 3]
        if not self._checked[row]:
            if zlib.crc32(flat.numpy().data) != int(self.index.checksums[row]):
                return self._read_file(row)
            self._checked[row] = True
        return flat.view(height, width, 3).permute(2, 0, 1)  # [3, H, W]

    def _read_file(self, row: int) -> Tensor:
        _logger.warning(
            "%s: image %d is damaged; its file is read instead, and the cache will be rebuilt when "
            "it is next opened",
            self.place,
            row,
        )
        (self.place / _DAMAGED).touch()
        root = self._table.root or Path()
        return _decode(root / self._table.paths[row], self._resize)

    def _map(self) -> Tensor:
        path = self.place / PIXELS
        if not path.stat().st_size:
            return torch.empty(0, dtype=torch.uint8)
        # torch asks for writable memory; with mode "c" (copy on write) the file stays unchanged.
        return torch.from_numpy(np.memmap(path, dtype=np.uint8, mode="c"))  # [bytes]

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker maps the file itself instead of receiving a copy of its content.
        return {k: v for k, v in self.__dict__.items() if k != "_pixels"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pixels = self._map()


class _Part(ImageSource):
    """Images of some rows of a cache."""

    def __init__(self, cache: ImageCache, rows: list[int]) -> None:
        self._cache = cache
        self._rows = rows

    def read(self, row: int) -> Tensor:
        """Return one image, uint8 `[3, H, W]`; raises as `ImageCache.read` does."""
        return self._cache.read(self._rows[row])


def _open_or_build(
    place: Path,
    key: str,
    table: ImageTable,
    resize: int,
    progress: Progress | None,
    threads: int | None,
) -> CacheIndex:
    try:
        if (place / _DAMAGED).exists():
            raise StaleCacheError("an image in it is damaged")
        index = load_index(place, key)
        if len(index.sizes) != len(table):
            raise StaleCacheError(f"it holds {len(index.sizes)} of {len(table)} images")
        return index
    except StaleCacheError as reason:
        if place.exists():
            _logger.warning("%s: %s; rebuilding the image cache", place, reason)
            shutil.rmtree(place)
    # Left by an interrupted process: the lock guarantees that no process is building.
    building = place.with_name(place.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    try:
        index = _build(building, table, resize, progress, threads)
        save_index(building, index, key)
        building.rename(place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return index


def _build(
    folder: Path, table: ImageTable, resize: int, progress: Progress | None, threads: int | None
) -> CacheIndex:
    count, root = len(table), table.root or Path()
    index = CacheIndex(
        np.zeros(count, np.int64), np.zeros((count, 2), np.int32), np.zeros(count, np.uint32)
    )

    def decode(row: int) -> Tensor | DatasetError:
        try:
            return _decode(root / table.paths[row], resize)
        except DatasetError as error:
            return error

    at = 0
    with (
        (folder / PIXELS).open("wb") as file,
        ThreadPoolExecutor(threads or decoding_threads()) as pool,
    ):
        for start in range(0, count, _CHUNK):
            rows = range(start, min(start + _CHUNK, count))
            for row, image in zip(rows, pool.map(decode, rows), strict=True):
                if isinstance(image, DatasetError):
                    index.broken[row] = str(image)
                    continue
                pixels = image.permute(1, 2, 0).contiguous()  # [H, W, 3]
                data = pixels.numpy().data
                index.offsets[row] = at
                index.sizes[row] = pixels.shape[:2]
                index.checksums[row] = zlib.crc32(data)
                at += file.write(data)
            if progress is not None:
                progress(rows.stop, count)
        file.flush()
        os.fsync(file.fileno())
    return index


def _decode(path: Path, resize: int) -> Tensor:
    image = decode_image(path)
    if min(image.shape[1:]) > resize:
        image = resize_shorter(image[None], resize)[0]
    return image  # [3, H, W]

"""Embedding of arbitrary pictures with a trained model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from ibc_pyg.config import Config
from ibc_pyg.console import Progress
from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.images.pictures import Picture, list_pictures, read_picture
from ibc_pyg.data.transforms import Transform
from ibc_pyg.data.transforms.pixels import fit_shape
from ibc_pyg.errors import DatasetError, RunError
from ibc_pyg.inference.embeddings import Embeddings, EmbeddingsWriter
from ibc_pyg.inference.published import fetch, load_published
from ibc_pyg.inference.trained import Trained
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.threads import map_ahead

Pictures = Iterable[Picture] | str | os.PathLike[str] | Image.Image
"""Several pictures in a list or another iterable, a folder, or one picture."""


@dataclass(frozen=True)
class ModelSource:
    """Place of a model, from which it can be opened again.

    Attributes:
        name: Absolute path of a run folder or a published one, or the name of a pretrained
            backbone.
        weights: Absolute path of the weights of a backbone; None for the published ones.
    """

    name: str
    weights: str | None = None

    @classmethod
    def of(cls, values: object) -> ModelSource | None:
        """Make a place of the values of a file; None of None.

        Raises:
            TypeError: If a value is missing, unknown or not text.
        """
        if values is None:
            return None
        if not isinstance(values, dict):
            raise TypeError("the place of the model is no mapping")
        place = cls(**values)
        if not (isinstance(place.name, str) and isinstance(place.weights, str | None)):
            raise TypeError("the place of the model is not text")
        return place


_MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class EmbeddedBatch:
    """Pictures of one forward pass, or a picture that was skipped; then B is 0.

    Attributes:
        rows: Rows of the input, int64 `[B]`, ascending.
        vectors: Unit-norm float32 `[B, D]`.
        skipped: Row of the input to reason, of a picture that cannot be decoded.
    """

    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    skipped: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Decoded:
    """Pixels of a picture, uint8 `[1, S, S, C]`, or the reason why it could not be decoded."""

    row: int
    pixels: Tensor | None
    reason: str = ""


class Embedder:
    """Trained model that embeds pictures; it does not need a data set.

    Args:
        model: The model.
        transform: Preprocessing of its input.
        config: Configuration of its run.
        class_names: Names of the training classes; None if the run has no record of them.
        image_shape: Height, width and channels that pictures are resized to before the transform,
            for models trained on a data set in memory; None for models of photographs.
        source: Where the model can be opened again; None if it was made in memory.

    Attributes:
        transform: Preprocessing of its input.
        config: Configuration of the run.
        class_names: Names of the training classes, in the order of the logits; None for runs of
            version 0.1.0.
        image_shape: As above.
        source: As above.
        skipped: Pictures skipped by the last call of `embed`: row of the input to reason.
    """

    def __init__(
        self,
        model: IntraBatchModel,
        transform: Transform,
        config: Config,
        *,
        class_names: tuple[str, ...] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        source: ModelSource | None = None,
    ) -> None:
        self._model = model.eval()
        self.transform = transform
        self.image_shape = image_shape
        self.source = source
        self.config = config
        self.class_names = class_names
        self.skipped: dict[int, str] = {}

    @classmethod
    def of(cls, trained: Trained) -> Embedder:
        """Return the embedder of an opened run."""
        record = trained.record
        return cls(
            trained.model,
            trained.transform,
            trained.config,
            class_names=None if record is None else record.class_names,
            image_shape=trained.image_shape,
            source=ModelSource(str(trained.run.path.resolve())),
        )

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, revision: str | None = None
    ) -> Embedder:
        """Open a published model, strictly and without a pickle.

        Args:
            name: A folder of `export --format hub`, or the name of a repository on the Hugging
                Face hub, which is downloaded once.
            revision: Branch, tag or commit on the hub; None takes the main branch.

        Raises:
            RunError: If a file is missing or damaged, or the weights do not fit.
            ConfigError: If the repository cannot be downloaded, or a package is missing.
        """
        folder = Path(name)
        if not folder.is_dir():
            folder = fetch(os.fspath(name), revision)
        published = load_published(folder)
        names = published.stored.class_names
        return cls(
            published.model,
            published.transform,
            published.config,
            class_names=None if names is None else tuple(names),
            image_shape=published.image_shape,
            source=ModelSource(str(folder.resolve())),
        )

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.config.model.embedding_dim

    @property
    def backbone(self) -> nn.Module:
        """Network from images `[B, C, S, S]` to raw embeddings `[B, D]`."""
        return self._model.backbone

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self._model.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the model to a device, in place."""
        self._model.to(device)
        return self

    def __repr__(self) -> str:
        """Return backbone, dimension and device."""
        return f"Embedder({self.config.model.backbone}, dim={self.dim}, device={self.device})"

    def embed(
        self,
        images: Pictures,
        *,
        batch_size: int = 64,
        progress: bool = False,
        on_error: Literal["stop", "skip"] = "stop",
        out: str | os.PathLike[str] | None = None,
    ) -> Embeddings:
        """Embed pictures.

        Pictures are decoded as in training: rotated by their EXIF orientation, transparent areas
        white, 16-bit images reduced to the high byte, grey repeated to three channels. They are
        read while the iterable is consumed, so memory is bounded if `out` is given.

        Args:
            images: Paths, file contents (bytes), Pillow images or arrays (see `Picture`), also
                mixed; a folder, whose image files are read in the order of their paths; or one
                picture.
            batch_size: Number of pictures in a forward pass, >= 1.
            progress: Show a progress bar on standard error.
            on_error: "stop" raises on a picture that cannot be decoded; "skip" omits its row and
                records it in `skipped`.
            out: A .npy file that the embeddings are streamed to; the result is memory-mapped.

        Returns:
            Unit-norm float32 `[M, D]`; its `rows` are the rows of the input, int64 `[M]`.

        Raises:
            ValueError: If there are no pictures, an argument is out of range, or an array has a
                wrong shape or dtype or holds NaN.
            TypeError: If an item is not a picture.
            DatasetError: If a picture cannot be decoded and `on_error` is "stop".
            RunError: If the embeddings are not finite, or `out` cannot be written.
        """
        if on_error not in ("stop", "skip"):
            raise ValueError(f'on_error must be "stop" or "skip", not {on_error!r}')
        items = _listed(images)
        total = len(items) if isinstance(items, Sized) else None
        self.skipped = {}
        console = Console(stderr=True, quiet=not (progress and total))
        with (
            EmbeddingsWriter(self.dim, None if out is None else Path(out)) as writer,
            Progress(total or 0, "embed", console=console) as bar,
        ):
            done = 0
            for batch in self.batches(items, batch_size=batch_size):
                if batch.skipped and on_error == "stop":
                    reason = next(iter(batch.skipped.values()))
                    raise DatasetError(f'{reason}; on_error="skip" skips such pictures')
                self.skipped.update(batch.skipped)
                writer.add(batch.vectors, batch.rows)
                done += len(batch.rows) + len(batch.skipped)
                if total:
                    bar.update(min(done, total))
            if not done:
                raise ValueError("images is empty: there is nothing to embed")
            return writer.finish()

    def batches(self, items: Iterable[Picture], *, batch_size: int = 64) -> Iterator[EmbeddedBatch]:
        """Embed pictures as they come, one batch after the other.

        Each forward pass but the last has `batch_size` pictures, however many are skipped between
        them, so a sequence that is cut after one gives the same numbers.

        Args:
            items: The pictures; see `embed`. Those of the next batches are read and decoded while
                the network computes.
            batch_size: Number of pictures in a forward pass, >= 1.

        Raises:
            ValueError, TypeError, RunError: As `embed`.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be an integer >= 1, not {batch_size!r}")
        threads = decoding_threads()
        rows: list[int] = []
        pixels: list[Tensor] = []
        with ThreadPoolExecutor(threads) as pool:
            for each in map_ahead(pool, self._decode, enumerate(items), 4 * threads):
                if each.pixels is None:
                    yield EmbeddedBatch(*self._forward([], []), {each.row: each.reason})
                    continue
                rows.append(each.row)
                pixels.append(each.pixels)
                if len(rows) == batch_size:
                    yield EmbeddedBatch(*self._forward(rows, pixels))
                    rows, pixels = [], []
        if rows:
            yield EmbeddedBatch(*self._forward(rows, pixels))

    def prepare(self, picture: Picture, name: str = "picture") -> Tensor:
        """Decode a picture and scale it to the input of the network, uint8 `[1, S, S, C]`.

        Any number of threads may do this at the same time.

        Raises:
            DatasetError: If it cannot be decoded.
        """
        decoded = self._decode((0, picture), name)
        if decoded.pixels is None:
            raise DatasetError(decoded.reason)
        return decoded.pixels

    def embed_prepared(self, pictures: Sequence[Tensor]) -> npt.NDArray[np.float32]:
        """Embed what `prepare` returned, in one forward pass.

        Returns:
            Unit-norm float32 `[N, D]`.

        Raises:
            RunError: If the embeddings are not finite.
        """
        return self._forward(list(range(len(pictures))), list(pictures))[1]

    @torch.no_grad()
    def _forward(
        self, rows: list[int], pixels: list[Tensor]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        if not rows:
            return np.empty(0, np.int64), np.empty((0, self.dim), np.float32)
        images = self.transform.normalise(torch.cat(pixels).to(self.device))  # [B, C, S, S]
        dtype = _MIXED.get(self.config.train.precision)
        with nullcontext() if dtype is None else torch.autocast(self.device.type, dtype):
            vectors = self._model.embed(images).cpu()  # [B, D]
        if not bool(vectors.isfinite().all()):
            raise RunError("the embeddings are not finite; are the weights damaged?")
        return np.array(rows, np.int64), vectors.numpy()

    def _decode(self, numbered: tuple[int, Picture], name: str = "") -> _Decoded:
        row, item = numbered
        if not name:
            name = str(item) if isinstance(item, str | os.PathLike) else f"images[{row}]"
        try:
            pixels = read_picture(item, name)  # [3, H, W]
        except DatasetError as error:
            return _Decoded(row, None, str(error).partition(";")[0])
        if self.image_shape is not None:
            pixels = fit_shape(pixels, *self.image_shape)  # [C, h, w]
        # Pictures wait in the size of the network's input, however large they are.
        try:
            return _Decoded(row, self.transform.fit([pixels]))  # [1, S, S, C]
        except DatasetError as error:
            return _Decoded(row, None, f"{name}: {str(error).partition(';')[0]}")


def _listed(images: Any) -> Iterable[Picture]:
    if isinstance(images, str | os.PathLike):
        path = Path(images)
        if not path.is_dir():
            return [path]
        found = list_pictures(path)
        if not found:
            raise ValueError(f"images is empty: the folder {path} holds no image files")
        return found
    if isinstance(images, bytes | Image.Image):
        return [images]
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ValueError(
            "images: an array must be a batch [N, H, W, C]; put a single picture into a list"
        )
    if not isinstance(images, Iterable):
        raise ValueError(
            f"images must be pictures or a folder, not {type(images).__name__}; see Embedder.embed"
        )
    if isinstance(images, Sized) and not len(images):
        raise ValueError("images is empty: there is nothing to embed")
    return images

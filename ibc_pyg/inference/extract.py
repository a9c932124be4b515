"""Descriptors of many images, and the file of a run that keeps them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ibc_pyg.builders.model import Data
from ibc_pyg.data.loading.loader import eval_loader
from ibc_pyg.data.sampling.sharding import shard_rows
from ibc_pyg.data.splits import Probe
from ibc_pyg.files import file_digest, write_atomically
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.metrics import Protocol, protocol_for
from ibc_pyg.metrics.protocols import DEFAULT_PROTOCOL
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.parallel.collectives import process_rank, world_size
from ibc_pyg.parallel.fabric import share_tensors
from ibc_pyg.parallel.processes import (
    all_gather_json,
    all_gather_tensors,
    is_distributed,
    raise_together,
)

ONE_VIEW = Views()


@dataclass(frozen=True)
class Descriptors:
    """Unit-norm vectors of some rows of a table.

    Attributes:
        rows: Row numbers, int64 `[M]`.
        vectors: Float32 `[M, D]`.
        labels: Class numbers, int64 `[M]`.
    """

    rows: npt.NDArray[np.int64]
    vectors: Tensor
    labels: Tensor


@torch.no_grad()
def describe(
    fabric: Fabric,
    model: IntraBatchModel,
    data: Data,
    rows: npt.NDArray[np.int64],
    *,
    batch_size: int,
    views: Views = ONE_VIEW,
) -> Descriptors:
    """Return the descriptors of `rows`, in that order, on the CPU.

    Several processes share the batches that one would make, so that each image is seen once, in
    the same company, and all get all descriptors.

    With `data.on_error` "skip" those that cannot be read are left out, and noted in
    `data.skipped`.

    Args:
        fabric: Device and precision.
        model: Whose backbone describes; its mode is as before afterwards.
        data: Table and transform.
        rows: Row numbers, int64 `[M]`.
        batch_size: Images a forward pass.
        views: Mirror image and crops that each descriptor is the mean of.
    """
    training = model.training
    model.eval()
    # The running statistics of the first process count, where each has its own.
    share_tensors(model.buffers())
    size = max(1, batch_size // views.crops)
    vectors: list[Tensor] = []
    with raise_together():
        loader = eval_loader(
            data.table,
            _own_batches(rows, size),
            views.transform(data.table, data.transform),
            size,
            workers=data.workers,
            device=fabric.device,
            cache=data.cache,
            on_error=data.on_error,
        )
        for batch in loader:
            with fabric.autocast():
                vectors.append(views.describe(model, batch.images).cpu())  # [B, D]
    model.train(training)
    joined = all_gather_tensors(torch.cat(vectors) if vectors else torch.empty(0))  # [M, D]
    skipped = dict(
        pair for pairs in all_gather_json(list(loader.skipped.items())) for pair in pairs
    )
    if skipped:
        data.skipped.update(skipped)
        rows = rows[~np.isin(rows, list(skipped))]
    return Descriptors(rows, joined, torch.from_numpy(data.table.labels[rows]))


def _own_batches(rows: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return the rows of the whole batches that are this process's share."""
    if not is_distributed():
        return rows
    batches = shard_rows(np.arange(0, len(rows), size), process_rank(), world_size())
    return rows[batches[0] : batches[-1] + size] if len(batches) else rows[:0]


@dataclass(frozen=True)
class Described:
    """Descriptors of a probe.

    Attributes:
        queries: What is searched for.
        gallery: What is searched in; None if the queries are each other's gallery.
        protocol: What the data set's benchmark reports.
    """

    queries: Descriptors
    gallery: Descriptors | None
    protocol: Protocol = DEFAULT_PROTOCOL

    @property
    def searched(self) -> Descriptors:
        """What a query is searched in."""
        return self.queries if self.gallery is None else self.gallery


def describe_probe(
    fabric: Fabric,
    model: IntraBatchModel,
    data: Data,
    probe: Probe,
    *,
    batch_size: int,
    views: Views = ONE_VIEW,
) -> Described:
    """Describe queries and gallery; see `describe`."""

    def part(rows: npt.NDArray[np.int64]) -> Descriptors:
        return describe(fabric, model, data, rows, batch_size=batch_size, views=views)

    gallery = None if probe.gallery is None else part(probe.gallery)
    return Described(part(probe.queries), gallery, protocol_for(data.table.name))


def save_descriptors(path: Path, descriptors: Descriptors, data: Data, *, weights: Path) -> None:
    """Keep descriptors with the hashes of the weights that made them and of what was described.

    Raises:
        RunError: If the file cannot be written.
    """
    tensors = {"rows": torch.from_numpy(descriptors.rows), "vectors": descriptors.vectors}
    write_atomically(path, save(tensors, metadata=_made_of(data, weights)))


def read_descriptors(path: Path, data: Data, *, weights: Path) -> Descriptors | None:
    """Read kept descriptors; None if there are none, or of other weights or images."""
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata() != _made_of(data, weights):
                return None
            rows = file.get_tensor("rows").numpy()
            vectors = file.get_tensor("vectors")
    except (OSError, SafetensorError):
        return None
    if len(rows) and rows.max() >= len(data.table):
        return None
    return Descriptors(rows, vectors, torch.from_numpy(data.table.labels[rows]))


def _made_of(data: Data, weights: Path) -> dict[str, str]:
    """Return what tells descriptors apart: the weights, and which image each row is."""
    images = hashlib.sha256("\n".join(data.table.paths).encode(errors="surrogateescape"))
    images.update(data.table.labels.tobytes())
    images.update(data.table.roles.tobytes())
    return {"weights_sha256": file_digest(weights), "images_sha256": images.hexdigest()}

"""Extraction of the embeddings of the images of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from ibc_pyg.builders.data import Data
from ibc_pyg.data.loading.loader import eval_loader
from ibc_pyg.data.sampling.sharding import shard_rows
from ibc_pyg.data.splits import EvalSplit
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
    """Unit-norm embeddings of rows of a table.

    Attributes:
        rows: Row numbers, int64 `[M]`.
        vectors: Float32 `[M, D]`.
        labels: Class numbers, int64 `[M]`.
    """

    rows: npt.NDArray[np.int64]
    vectors: Tensor
    labels: Tensor


@torch.no_grad()
def extract(
    fabric: Fabric,
    model: IntraBatchModel,
    data: Data,
    rows: npt.NDArray[np.int64],
    *,
    batch_size: int,
    views: Views = ONE_VIEW,
) -> Descriptors:
    """Extract the embeddings of `rows`, in that order, to the CPU.

    Several processes divide the batches that one process would read, and all receive all
    embeddings: the result does not depend on the number of processes.

    With `data.on_error` "skip", unreadable images are omitted and added to `data.skipped`.

    Args:
        fabric: Device and precision.
        model: The model; its mode is restored afterwards.
        data: Table and transform.
        rows: Row numbers, int64 `[M]`.
        batch_size: Number of images in a forward pass.
        views: Mirror image and crops whose embeddings are averaged.
    """
    training = model.training
    model.eval()
    # Running statistics can differ between processes; those of the main process are used.
    share_tensors(model.buffers())
    size = max(1, batch_size // views.crops)
    vectors: list[Tensor] = []
    with raise_together():
        loader = eval_loader(
            data.table,
            _own_batches(rows, size),
            views.transform(data.table, data.transform),
            size,
            data.loading(fabric.device),
        )
        for batch in loader:
            with fabric.autocast():
                vectors.append(views.embed(model, batch.images).cpu())  # [B, D]
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
    """Return the rows of the batches of this process."""
    if not is_distributed():
        return rows
    batches = shard_rows(np.arange(0, len(rows), size), process_rank(), world_size())
    return rows[batches[0] : batches[-1] + size] if len(batches) else rows[:0]


@dataclass(frozen=True)
class EvalDescriptors:
    """Embeddings of queries and gallery.

    Attributes:
        queries: Queries.
        gallery: Gallery; None if queries are searched among each other.
        protocol: Metrics of the benchmark of the data set.
        same: Whether the gallery is the queries in another form; each is left out of its own list.
    """

    queries: Descriptors
    gallery: Descriptors | None
    protocol: Protocol = DEFAULT_PROTOCOL
    same: bool = False

    @property
    def candidates(self) -> Descriptors:
        """Embeddings that a query is compared with: the gallery, or the queries themselves."""
        return self.queries if self.gallery is None else self.gallery


def extract_split(
    fabric: Fabric,
    model: IntraBatchModel,
    data: Data,
    probe: EvalSplit,
    *,
    batch_size: int,
    views: Views = ONE_VIEW,
) -> EvalDescriptors:
    """Extract the embeddings of queries and gallery; see `extract`."""

    def part(rows: npt.NDArray[np.int64]) -> Descriptors:
        return extract(fabric, model, data, rows, batch_size=batch_size, views=views)

    gallery = None if probe.gallery is None else part(probe.gallery)
    return EvalDescriptors(part(probe.queries), gallery, protocol_for(data.table.name))

"""Attention within a batch of test images, and the strongest edges of its graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.data.loading.loader import Loading, eval_loader
from ibc_pyg.errors import DatasetError
from ibc_pyg.inference.eval_set import EvalSet

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BatchAttention:
    """Attention of the last message-passing step over one batch.

    Attributes:
        weights: Float32 `[H, N, N]`, head x receiver x sender.
        labels: Class name of each node; equal ones side by side.
        null_share: Attention of each receiver to the null node, `[H, N]`; None without one.
        rows: Row of the data table of each node, int64 `[N]`.
    """

    weights: npt.NDArray[np.float32]
    labels: list[str]
    null_share: npt.NDArray[np.float32] | None
    rows: Rows


@torch.no_grad()
def batch_attention(images: EvalSet, tested: Rows) -> BatchAttention | None:
    """Return the attention over one batch of test images, as many as in training.

    Args:
        images: Test images of a run.
        tested: Rows of the test images.

    Returns:
        None if the run has no attention on a complete graph, or an image cannot be read.
    """
    trained, table = images.trained, images.table
    config, mpn = trained.config, trained.model.mpn
    if mpn is None or config.model.graph != "complete" or not len(mpn.steps):
        return None
    if not getattr(mpn.steps[-1].conv, "has_attention", False):
        return None
    rng = np.random.default_rng(config.train.seed)
    classes = rng.permutation(np.unique(table.labels[tested]))[: config.data.classes_per_batch]
    rows = np.concatenate(
        [
            tested[table.labels[tested] == label][: config.data.images_per_class]
            for label in np.sort(classes)
        ]
    )
    trained.model.eval()
    try:
        data = images.data
        loading = Loading(device=trained.device)
        batch = next(iter(eval_loader(data.table, rows, data.transform, len(rows), loading)))
    except DatasetError:
        return None
    output = trained.model(batch.images, return_attention=True)
    weights = output.attention[-1].float().cpu().numpy()  # [H, N, N]
    has_null = config.model.conv == "IntraBatchConv" and config.model.null_node
    return BatchAttention(
        weights,
        [table.class_names[label] for label in table.labels[rows]],
        (1 - weights.sum(-1)).clip(0, 1) if has_null else None,  # [H, N]
        rows,
    )


def strongest_edges(weights: npt.NDArray[np.float32], number: int) -> list[tuple[int, int, float]]:
    """Return the strongest edges between different nodes by the mean over heads.

    Args:
        weights: `[H, N, N]`, head x receiver x sender.
        number: Edges at most.

    Returns:
        Receiver, sender and weight, strongest first, lower nodes first among equals.
    """
    mean = weights.mean(0, dtype=np.float64)  # [N, N]
    np.fill_diagonal(mean, -1.0)
    order = np.argsort(-mean, axis=None, kind="stable")[: max(0, min(number, mean.size))]
    edges = [(int(i // len(mean)), int(i % len(mean))) for i in order]
    return [(i, j, float(mean[i, j])) for i, j in edges if mean[i, j] > 0]


def mean_edge(weights: npt.NDArray[np.float32]) -> float:
    """Return the mean weight of the edges `[H, N, N]` between different nodes; 0 for one node."""
    mean = weights.mean(0, dtype=np.float64)  # [N, N]
    count = len(mean) * (len(mean) - 1)
    return float((mean.sum() - np.trace(mean)) / count) if count else 0.0


def circle(labels: list[str]) -> npt.NDArray[np.float64]:
    """Return places of nodes on the unit circle, `[N, 2]`, with a gap between classes."""
    changes = np.array([a != b for a, b in zip(labels, labels[1:] + labels[:1], strict=True)])
    steps = 1.0 + 0.7 * changes
    at = np.concatenate([[0.0], np.cumsum(steps)[:-1]]) / steps.sum()
    angle = 2 * np.pi * at - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1)  # [N, 2]

"""Contents of a report, gathered from a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.splits import NOT_TESTED
from ibc_pyg.errors import DatasetError
from ibc_pyg.explain.batch import (
    BatchAttention,
    batch_attention,
    circle,
    mean_edge,
    strongest_edges,
)
from ibc_pyg.files import read_json
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import EvalDescriptors
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.metrics.names import metric_names
from ibc_pyg.report import (
    AttentionMap,
    BatchGraph,
    GalleryRow,
    MapPoints,
    Neighbour,
    ReportData,
    Thumb,
    picture_attention,
    picture_gallery,
    project_2d,
    write_report,
)

QUERIES = 12
NEIGHBOURS = 10
GRAPH_EDGES = 100
MAP_POINTS = 1000
MAP_CLASSES = 12
MAP_THUMBS = 60
THUMB = 96
BLANK = 200

Rows = npt.NDArray[np.int64]


def make_report(images: EvalSet) -> ReportData:
    """Write the HTML report of a run and return what it shows."""
    data = report_data(images)
    write_report(data, images.trained.run.report)
    return data


def make_pictures(data: ReportData) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the pictures of a report that trackers show: name to uint8 `[H, W, 3]`."""
    pictures = {}
    if data.gallery:
        pictures["retrieval_gallery"] = picture_gallery(data.gallery)
    if data.attention is not None:
        pictures["batch_attention"] = picture_attention(data.attention)
    return pictures


def report_data(images: EvalSet) -> ReportData:
    """Gather the contents of a report; what is drawn at random is drawn by the run's seed.

    Pictures that are missing, as when the data set has moved, are left blank and counted. Without
    test images, there are no pictures.
    """
    run, config = images.trained.run, images.trained.config
    summary = run.read_summary() if run.summary.is_file() else {}
    floor = summary.pop("raw_pixels", None)
    base = ReportData(
        title=run.path.resolve().name,
        facts=_facts(images, summary, None),
        config_yaml=config_to_yaml(config),
        summary=_metrics(summary),
        comparisons={} if floor is None else {"raw pixels": _metrics(floor)},
        history=run.read_history(),
    )
    if images.splits.test is None:
        return base
    descriptors = images.descriptors()
    thumbnails = Thumbnails(images)
    rows = np.union1d(descriptors.queries.rows, descriptors.candidates.rows)
    gallery = _gallery(images, descriptors, thumbnails)
    batch = batch_attention(images, rows)
    graph = batch_graph(batch, thumbnails)
    points = _points(images, descriptors, thumbnails)
    return replace(
        base,
        facts=_facts(images, summary, len(rows)) | thumbnails.facts(),
        gallery=gallery,
        attention=attention_map(batch),
        graph=graph,
        points=points,
    )


class Thumbnails:
    """Small pictures of the images, or a blank one for each that cannot be read."""

    def __init__(self, images: EvalSet) -> None:
        self._images = images
        self._wanted = self._missing = 0

    def __call__(self, row: int) -> npt.NDArray[np.uint8]:
        """Return the picture of an image, uint8 `[h, w, C]`."""
        self._wanted += 1
        if self._images.table.root is None:
            held = self._images.data.table.images
            assert held is not None
            picture: npt.NDArray[np.uint8] = held[row]
            return picture
        try:
            pixels = decode_image(self._images.path(row))  # [3, H, W]
        except DatasetError:
            self._missing += 1
            return np.full((THUMB, THUMB, 3), BLANK, np.uint8)
        step = max(1, min(pixels.shape[-2:]) // THUMB)
        small: npt.NDArray[np.uint8] = pixels[:, ::step, ::step].permute(1, 2, 0).numpy()
        return small  # [h, w, 3]

    def facts(self) -> dict[str, str]:
        """Return a line about missing pictures, if there are any."""
        if not self._missing:
            return {}
        where = self._images.table.root
        return {"pictures": f"{self._missing} of {self._wanted} cannot be read from {where}"}


def _metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: scores[name] for name in metric_names(scores)}


def _facts(images: EvalSet, summary: Mapping[str, Any], tested: int | None) -> dict[str, str]:
    trained, table, splits = images.trained, images.table, images.splits
    made = read_json(trained.run.environment) if trained.run.environment.is_file() else {}
    facts = {
        "data set": table.name,
        "train": f"{len(splits.train):,} images of {splits.num_classes:,} classes",
        "test": NOT_TESTED if tested is None else f"{tested:,} images of unseen classes",
        "weights kept": {
            "val": f"best on held-out training classes (epoch {summary.get('epoch')})",
            "last": "last epoch",
            "test": f"BEST ON THE TEST CLASSES (epoch {summary.get('epoch')})",
        }[trained.config.select]
        + (", then retrained on all training classes" if summary.get("retrained") else ""),
        "seed": str(trained.config.train.seed),
        "device": str(trained.device),
        "training time": f"{summary['train_seconds']:.0f} s" if "train_seconds" in summary else "",
        "date": str(made.get("time", ""))[:10],
        "commit": str(made.get("git_commit") or "")[:12],
        "torch": str(made.get("packages", {}).get("torch", "")),
    }
    return {name: text for name, text in facts.items() if text}


def _gallery(
    images: EvalSet, descriptors: EvalDescriptors, thumbnails: Thumbnails
) -> list[GalleryRow]:
    table = images.table
    queries, searched = descriptors.queries, descriptors.candidates
    rng = np.random.default_rng(images.trained.config.train.seed)
    picked = np.sort(rng.permutation(len(queries.rows))[:QUERIES])
    vectors = queries.vectors[torch.from_numpy(picked)]  # [Q, D]
    # One more than shown: where queries are their own gallery, the query itself is left out.
    k = min(NEIGHBOURS + 1, len(searched.rows))
    found = nearest_neighbours(vectors, searched.vectors, k=k)
    rows = []
    for position, items, scores in zip(picked, found.indices, found.scores, strict=True):
        row = int(queries.rows[position])
        neighbours = [
            Neighbour(
                thumbnails(other),
                images.label(other),
                similarity=float(score),
                correct=bool(table.labels[other] == table.labels[row]),
            )
            for other, score in zip(searched.rows[items.numpy()].tolist(), scores, strict=True)
            if other != row
        ]
        query = Thumb(thumbnails(row), images.label(row))
        rows.append(GalleryRow(query, neighbours[:NEIGHBOURS]))
    return rows


def attention_map(batch: BatchAttention | None) -> AttentionMap | None:
    """Return the attention of a batch as the report shows it."""
    return None if batch is None else AttentionMap(batch.weights, batch.labels, batch.null_share)


def batch_graph(batch: BatchAttention | None, thumbnails: Thumbnails) -> BatchGraph | None:
    """Return the strongest edges of a batch with small pictures of its nodes."""
    if batch is None:
        return None
    return BatchGraph(
        [
            Thumb(thumbnails(row), label)
            for row, label in zip(batch.rows.tolist(), batch.labels, strict=True)
        ],
        strongest_edges(batch.weights, GRAPH_EDGES),
        circle(batch.labels),
        mean_edge(batch.weights),
    )


def _points(images: EvalSet, descriptors: EvalDescriptors, thumbnails: Thumbnails) -> MapPoints:
    """Return the points of a map: all images of some classes, and some of the others."""
    table, searched = images.table, descriptors.candidates
    rng = np.random.default_rng(images.trained.config.train.seed)
    labels = table.labels[searched.rows]
    classes = rng.permutation(np.unique(labels))
    shown = np.flatnonzero(np.isin(labels, classes[:MAP_CLASSES]))
    others = rng.permutation(np.setdiff1d(np.arange(len(labels)), shown))
    picked = np.concatenate([shown, others])[:MAP_POINTS]
    seed = images.trained.config.train.seed
    xy = project_2d(searched.vectors[torch.from_numpy(picked)].numpy(), seed)
    step = max(1, len(picked) // MAP_THUMBS)
    thumbs = {
        place: thumbnails(int(searched.rows[picked[place]]))
        for place in range(0, len(picked), step)
    }
    return MapPoints(xy, labels[picked], table.class_names, thumbs)

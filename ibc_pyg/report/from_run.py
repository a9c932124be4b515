"""What a report shows, gathered from a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ibc_pyg.config.yaml_file import config_to_yaml
from ibc_pyg.data.images.decode import decode_image
from ibc_pyg.data.loading.loader import eval_loader
from ibc_pyg.data.table import ImageTable
from ibc_pyg.files import read_json
from ibc_pyg.inference.extract import Described
from ibc_pyg.inference.trained import Trained
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.report import (
    AttentionMap,
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
MAP_POINTS = 1000
MAP_CLASSES = 12
MAP_THUMBS = 60
THUMB = 96

Rows = npt.NDArray[np.int64]


def make_report(trained: Trained) -> ReportData:
    """Write the HTML report of a run and return what it shows."""
    data = report_data(trained)
    write_report(data, trained.run.report)
    return data


def make_pictures(data: ReportData) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the pictures of a report that trackers show: name to uint8 `[H, W, 3]`."""
    pictures = {"retrieval_gallery": picture_gallery(data.gallery)}
    if data.attention is not None:
        pictures["batch_attention"] = picture_attention(data.attention)
    return pictures


def report_data(trained: Trained) -> ReportData:
    """Gather everything that the report shows; what is drawn at random is drawn by the seed."""
    run, config = trained.run, trained.config
    summary = run.read_summary() if run.summary.is_file() else {}
    described = trained.described()
    floor = summary.pop("raw_pixels", None)
    return ReportData(
        title=run.path.resolve().name,
        facts=_facts(trained, described, summary),
        config_yaml=config_to_yaml(config),
        summary=_metrics(summary),
        comparisons={} if floor is None else {"raw pixels": _metrics(floor)},
        history=run.read_history(),
        gallery=_gallery(trained, described),
        attention=_attention(trained, described),
        points=_points(trained, described),
    )


def _metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    names = ("MAP@R", "RP", "NMI", "AMI", "ARI")
    return {key: scores[key] for key in scores if key.startswith("R@") or key in names}


def _facts(trained: Trained, described: Described, summary: Mapping[str, Any]) -> dict[str, str]:
    table, splits = trained.data.table, trained.data.splits
    made = read_json(trained.run.environment) if trained.run.environment.is_file() else {}
    test = len(np.union1d(described.queries.rows, described.searched.rows))
    facts = {
        "data set": table.name,
        "train": f"{len(splits.train):,} images of {splits.num_classes:,} classes",
        "test": f"{test:,} images of unseen classes",
        "weights kept": {
            "val": f"best on held-out training classes (epoch {summary.get('epoch')})",
            "last": "last epoch",
            "test": f"BEST ON THE TEST CLASSES (epoch {summary.get('epoch')})",
        }[trained.config.select]
        + (", then trained anew on all training classes" if summary.get("retrained") else ""),
        "seed": str(trained.config.train.seed),
        "device": str(trained.fabric.device),
        "training time": f"{summary['train_seconds']:.0f} s" if "train_seconds" in summary else "",
        "date": str(made.get("time", ""))[:10],
        "commit": str(made.get("git_commit") or "")[:12],
        "torch": str(made.get("packages", {}).get("torch", "")),
    }
    return {name: text for name, text in facts.items() if text}


def _gallery(trained: Trained, described: Described) -> list[GalleryRow]:
    table = trained.data.table
    queries, searched = described.queries, described.searched
    rng = np.random.default_rng(trained.config.train.seed)
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
                _picture(table, other),
                table.class_names[table.labels[other]],
                similarity=float(score),
                correct=bool(table.labels[other] == table.labels[row]),
            )
            for other, score in zip(searched.rows[items.numpy()].tolist(), scores, strict=True)
            if other != row
        ]
        query = Thumb(_picture(table, row), table.class_names[table.labels[row]])
        rows.append(GalleryRow(query, neighbours[:NEIGHBOURS]))
    return rows


@torch.no_grad()
def _attention(trained: Trained, described: Described) -> AttentionMap | None:
    """Return the last step's attention over one PK batch of test images."""
    config, table, mpn = trained.config, trained.data.table, trained.model.mpn
    if mpn is None or config.model.graph != "complete":
        return None
    layer = mpn.steps[-1].conv
    if not getattr(layer, "has_attention", False):
        return None
    rows = np.union1d(described.queries.rows, described.searched.rows)
    rng = np.random.default_rng(config.train.seed)
    classes = rng.permutation(np.unique(table.labels[rows]))[: config.data.classes_per_batch]
    batch_rows = np.concatenate(
        [
            rows[table.labels[rows] == label][: config.data.images_per_class]
            for label in np.sort(classes)
        ]
    )
    loader = eval_loader(
        table, batch_rows, trained.data.transform, len(batch_rows), device=trained.fabric.device
    )
    trained.model.eval()
    output = trained.model(next(iter(loader)).images, return_attention=True)
    weights = output.attention[-1].float().cpu().numpy()  # [H, N, N]
    has_null = config.model.conv == "IntraBatchConv" and config.model.null_node
    return AttentionMap(
        weights,
        [table.class_names[label] for label in table.labels[batch_rows]],
        null_share=(1 - weights.sum(-1)).clip(0, 1) if has_null else None,  # [H, N]
    )


def _points(trained: Trained, described: Described) -> MapPoints:
    """Return some whole classes, so that clusters can be seen, and others around them."""
    table, searched = trained.data.table, described.searched
    rng = np.random.default_rng(trained.config.train.seed)
    labels = table.labels[searched.rows]
    classes = rng.permutation(np.unique(labels))
    shown = np.flatnonzero(np.isin(labels, classes[:MAP_CLASSES]))
    others = rng.permutation(np.setdiff1d(np.arange(len(labels)), shown))
    picked = np.concatenate([shown, others])[:MAP_POINTS]
    xy = project_2d(searched.vectors[torch.from_numpy(picked)].numpy(), trained.config.train.seed)
    step = max(1, len(picked) // MAP_THUMBS)
    thumbs = {
        place: _picture(table, int(searched.rows[picked[place]]))
        for place in range(0, len(picked), step)
    }
    return MapPoints(xy, labels[picked], table.class_names, thumbs)


def _picture(table: ImageTable, row: int) -> npt.NDArray[np.uint8]:
    if table.images is not None:
        held: npt.NDArray[np.uint8] = table.images[row]
        return held
    picture = decode_image((table.root or Path()) / table.paths[row])  # [3, H, W]
    step = max(1, min(picture.shape[-2:]) // THUMB)
    small: npt.NDArray[np.uint8] = picture[:, ::step, ::step].permute(1, 2, 0).numpy()  # [h, w, 3]
    return small

"""Model card of a published folder, filled from its run alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ibc_pyg.data.table import Role
from ibc_pyg.errors import RunError, printable
from ibc_pyg.files import read_json
from ibc_pyg.inference.published import LIBRARY, PublishedConfig
from ibc_pyg.inference.trained import Trained

UNKNOWN = "not measured"
_METRICS = ("R@1", "MAP@R", "RP", "NMI")


@dataclass(frozen=True)
class CardExtras:
    """Facts of a card that its run does not hold.

    Attributes:
        license: Identifier of the licence of the weights.
        thresholds: Rate of false accepts, cosine that keeps it, and rate of true accepts there.
        pairs: What the thresholds were measured on, as a phrase.
    """

    license: str = "unknown"
    thresholds: Sequence[tuple[float, float, float]] = ()
    pairs: str = ""


USE = """\
import ibc_pyg

model = ibc_pyg.load(".")
vectors = model.embed("golden")
print(vectors @ vectors.T)
"""


def model_card(
    trained: Trained,
    stored: PublishedConfig,
    parity: dict[str, Any],
    notes: dict[str, str],
    extras: CardExtras,
) -> str:
    """Return README.md: metadata that a hub reads, and text.

    Args:
        trained: The run.
        stored: config.json of the folder.
        parity: What was measured when the folder was written, by format.
        notes: Formats that are not in the folder, with the reason.
        extras: Licence and thresholds.
    """
    summary = _read(trained, "summary")
    name = printable(trained.run.path.resolve().name)
    data = trained.config.data.name
    header: dict[str, Any] = {
        "library_name": LIBRARY,
        "pipeline_tag": "image-feature-extraction",
        "tags": ["deep-metric-learning", "image-retrieval"],
        "metrics": ["recall", "mean-average-precision"],
        "license": extras.license,
    }
    found = [key for key in summary if key.startswith(("R@", "MAP@R", "RP", "NMI"))]
    results = [
        {"type": key, "value": summary[key], "name": key} for key in found if _number(summary[key])
    ]
    if results:
        task = {"type": "image-feature-extraction", "name": "retrieval of unseen classes"}
        result = {"task": task, "dataset": {"type": data, "name": data}, "metrics": results}
        header["model-index"] = [{"name": name, "results": [result]}]
    yaml_text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{yaml_text}---\n\n# {name}\n",
        _what(trained, stored),
        f"## Use\n\n```python\n{USE}```\n",
        "Run it in this folder. Descriptors have unit norm: their product is the cosine. Embed all "
        "pictures again when `weights_sha256` changes.\n",
        _limits(summary),
        _data(trained),
        _protocol(trained, summary, extras),
        _training(trained, summary),
        _parity(parity, notes),
        "## Citation\n\nSeidenschwarz, Elezi, Leal-Taixé: Learning Intra-Batch Connections for "
        "Deep Metric Learning, ICML 2021, https://arxiv.org/abs/2102.07753\n",
    ]
    return "\n".join(parts)


def _what(trained: Trained, stored: PublishedConfig) -> str:
    count = sum(each.numel() for each in trained.model.backbone.parameters())
    t = trained.transform
    return (
        f"Embedding network `{stored.backbone}` for retrieval of classes never seen in training: "
        f"{stored.embedding_dim}-dimensional descriptors, {count:,} parameters, input "
        f"{t.channels} x {t.image_size} x {t.image_size}. Initial weights: "
        f"{printable(str(trained.config.model.weights or 'random'))}.\n"
    )


def _limits(summary: dict[str, Any]) -> str:
    chosen = ""
    if summary.get("select") == "test":
        chosen = "**The epoch was chosen on the test classes: its scores are too good.**\n\n"
    return (
        f"## Limits\n\n{chosen}For pictures like those of the training data. Not for decisions "
        "about the identity of people, and no test for duplicates: pictures of one class are "
        f"close. Other data sets: {UNKNOWN}. Overlap of the initial weights' data with the test "
        f"classes: {UNKNOWN}.\n"
    )


def _data(trained: Trained) -> str:
    lines = [f"Data set: `{printable(trained.config.data.name)}`. Licence: {UNKNOWN}.", ""]
    record = trained.record
    if record is None:
        return f"## Training data\n\n{lines[0]} Counts: {UNKNOWN}.\n"
    table, train = record.table, record.splits.train
    test = table.where(Role.TEST)
    lines += ["| part | pictures | classes |", "|---|---|---|"]
    for part, rows in (("training", train), ("test", test)):
        lines.append(f"| {part} | {len(rows):,} | {len(set(table.labels[rows].tolist())):,} |")
    shared = set(table.labels[train].tolist()) & set(table.labels[test].tolist())
    lines += ["", f"Classes in both: {len(shared):,}."]
    return "## Training data\n\n" + "\n".join(lines) + "\n"


def _protocol(trained: Trained, summary: dict[str, Any], extras: CardExtras) -> str:
    table = _comparison(trained, summary)
    spread = table["metrics"] if table else {}
    rows = [
        f"| {key} | {_shown(summary.get(key))} | {_spread(spread.get(key))} |" for key in _METRICS
    ]
    for key in ("queries", "queries_without_match", "seed", "epoch", "select"):
        rows.append(f"| {key} | {_shown(summary.get(key))} | |")
    raw = summary.get("raw_pixels")
    floor = raw.get("R@1") if isinstance(raw, dict) else None
    if floor is None and table:
        floor = table["floor"]
    return (
        "## Evaluation\n\nQueries are those of the data set's protocol; one view, no refinement. "
        "Fractions in [0, 1].\n\n| | these weights | mean over seeds, half of the 95 % interval |\n"
        "|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nFloor, R@1 of raw pixels: {_shown(floor)}; of frozen features: {UNKNOWN}. "
        f"Classifier at equal budget: {UNKNOWN}.\n\n{_thresholds(extras)}"
    )


def _thresholds(extras: CardExtras) -> str:
    if not extras.thresholds:
        return (
            f"Thresholds of the cosine at a false accept rate: {UNKNOWN}; `index calibrate` "
            "measures them.\n"
        )
    # Rounded up, so that the rate of false accepts holds.
    lines = [
        f"| {far:g} | {math.ceil(cosine * 1e6) / 1e6:.6f} | {tar:.4f} |"
        for far, cosine, tar in extras.thresholds
    ]
    return (
        f"Thresholds of the cosine, measured on {extras.pairs}:\n\n"
        "| false accepts | cosine at least | true accepts |\n|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )


def _comparison(trained: Trained, summary: dict[str, Any]) -> dict[str, Any] | None:
    """Return floor and metrics of the row of a comparison that this run is a seed of.

    A comparison writes table.json two folders above its runs, or beside them.
    """
    folder, seed = trained.run.path.resolve(), summary.get("seed")
    for path in (folder.parent / "table.json", folder.parent.parent / "table.json"):
        try:
            table = read_json(path) if path.is_file() else {}
            for row in table.get("rows", ()):
                at, values = row["seeds"].index(seed), row["values"]
                if all(values[key][at] == summary[key] for key in ("R@1", "MAP@R")):
                    return {"metrics": dict(row["metrics"]), "floor": table.get("floor")}
        except (RunError, AttributeError, KeyError, IndexError, TypeError, ValueError):
            continue
    return None


def _spread(estimate: Any) -> str:
    if not isinstance(estimate, dict) or not _number(estimate.get("half_width")):
        return UNKNOWN
    mean, half, count = (estimate.get(key) for key in ("mean", "half_width", "count"))
    return f"{_shown(mean)} ± {_shown(half)}, {_shown(count)} seeds"


def _training(trained: Trained, summary: dict[str, Any]) -> str:
    made, config = _read(trained, "environment"), trained.config
    settings = yaml.safe_dump(
        {
            "epochs": config.train.epochs,
            "lr": config.train.lr,
            "seed": config.train.seed,
            "classes_per_batch": config.data.classes_per_batch,
            "images_per_class": config.data.images_per_class,
            "message_passing_steps": config.model.steps,
            "transform": config.data.transform,
            "backbone_args": dict(config.model.backbone_args),
        },
        sort_keys=False,
    )
    facts = {
        "machine": made.get("gpu") or made.get("processor"),
        "seconds": summary.get("train_seconds"),
        "date": made.get("time"),
        "commit": made.get("git_commit"),
    }
    lines = "\n".join(f"- {key}: {_shown(value)}" for key, value in facts.items())
    return f"## Training\n\n{lines}\n\n```yaml\n{settings}```\n"


def _parity(parity: dict[str, Any], notes: dict[str, str]) -> str:
    lines = []
    for name, values in parity.items():
        words = ", ".join(f"{key} {_shown(value)}" for key, value in values.items())
        lines.append(f"- {name}: {words}")
    lines += [f"- {name}: not in this folder, since {why}" for name, why in notes.items()]
    return (
        "## Exported forms\n\nLargest difference of a coordinate to the model in torch, from the "
        "bytes of the golden pictures, batches of 1, 7 and 64:\n\n" + "\n".join(lines) + "\n"
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:,.0f}"
    return printable(str(value))


def _read(trained: Trained, name: str) -> dict[str, Any]:
    path = getattr(trained.run, name)
    try:
        return read_json(path) if path.is_file() else {}
    except RunError:
        return {}

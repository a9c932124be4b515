"""Planted label errors among the GroceryStore photographs: found by neighbours and by cleanlab.

The labels of a share of all photographs are exchanged for those of other classes at random. Frozen
features of an ImageNet network are compared, as in an index that was built before any training.
`index outliers` ranks by the votes of ten neighbours. cleanlab gets the same ten neighbours' votes
as probabilities, and those of a logistic regression on the features in five folds. Without cleanlab
its rows are left out.

    python benchmarks/label_errors.py --shared ../shared --weights FILE --work /tmp/labels
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict


def photographs(shared: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return the files and the fine classes."""
    root = shared.resolve() / "data/grocery_store"
    files, classes = [], []
    for part in ("train", "val", "test"):
        for line in (root / f"{part}.txt").read_text().splitlines():
            path, fine, _ = (each.strip() for each in line.split(","))
            files.append(str(root / path))
            classes.append(int(fine))
    return files, np.array(classes)


def planted(classes: np.ndarray[Any, Any], share: float, seed: int) -> np.ndarray[Any, Any]:
    """Return labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(classes))[: round(share * len(classes))]
    labels = classes.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 81, len(wrong))) % 81
    return labels


def score(ranked: list[int], flagged: int, wrong: set[int]) -> dict[str, float]:
    """Return precision at 100, recall and precision of what is flagged, recall at as many."""
    first = set(ranked[:flagged])
    return {
        "precision at 100": len(wrong & set(ranked[:100])) / 100,
        "flagged": flagged,
        "precision": len(wrong & first) / max(1, flagged),
        "recall": len(wrong & first) / len(wrong),
        "recall at the number of errors": len(wrong & set(ranked[: len(wrong)])) / len(wrong),
    }


def neighbour_shares(x: Any, labels: Any, k: int = 10) -> Any:
    """Return the shares of the neighbours' votes, `[N, 81]`, a little of all classes added."""
    shares = np.full((len(x), 81), 1e-3)
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    for row, others in enumerate(np.argsort(-similarity, 1)[:, :k]):
        np.add.at(shares[row], labels[others], similarity[row, others].clip(0))
    return shares / shares.sum(1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder of data")
    parser.add_argument("--weights", type=Path, required=True, help="of mobilenet_v2")
    parser.add_argument("--work", type=Path, required=True, help="folder for the index")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    add_outputs(parser)
    args = parser.parse_args()
    from ibc_pyg.collections.outliers import find_outliers
    from ibc_pyg.retrieval.index import Index

    files, classes = photographs(args.shared)
    args.work.mkdir(parents=True, exist_ok=True)
    table, place = args.work / "labels.csv", args.work / "labels.index"
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seeds):
        labels = planted(classes, args.share, seed)
        lines = [f'"{file}",class {label}' for file, label in zip(files, labels, strict=True)]
        table.write_text("path,label\n" + "\n".join(lines) + "\n")
        if place.is_dir():
            Index.open(place).sync()
        else:
            Index.build("mobilenet_v2", table, place, weights=args.weights, progress=True).close()
        with Index.open(place) as index:
            entry = {each.path: each.row for each in index.catalogue}
            x = index.vectors[[entry[file] for file in files]]
            start = time.perf_counter()
            found = find_outliers(index)
            seconds = time.perf_counter() - start
        # A content that is there twice is one picture of the index.
        number = {file: i for i, file in enumerate(files)}
        wrong = set(np.flatnonzero(labels != classes).tolist())
        ranked = [number[each.path] for each in found]
        suspicious = sum(each.suspicious for each in found)
        result = score(ranked, suspicious, wrong) | {"seconds": seconds}
        rows.setdefault("**ibc_pyg** `index outliers`", []).append(result)
        if find_spec("cleanlab"):
            from cleanlab.filter import find_label_issues

            start = time.perf_counter()
            shares = neighbour_shares(x, labels)
            near = time.perf_counter() - start
            start = time.perf_counter()
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            regression = LogisticRegression(C=10.0, max_iter=200)
            fitted = cross_val_predict(regression, x, labels, cv=folds, method="predict_proba")
            fit = time.perf_counter() - start
            for name, values, seconds in (
                ("cleanlab, votes of neighbours", shares, near),
                ("cleanlab, logistic regression", fitted, fit),
            ):
                start = time.perf_counter()
                issues = find_label_issues(
                    labels, values, return_indices_ranked_by="self_confidence", n_jobs=1
                ).tolist()
                seconds += time.perf_counter() - start
                result = score(issues, len(issues), wrong) | {"seconds": seconds}
                rows.setdefault(name, []).append(result)
        print(seed, {name: each[-1] for name, each in rows.items()}, flush=True)
    report = {
        "machine": machine(torch.device("cpu")),
        "photographs": len(files),
        "errors": round(args.share * len(files)),
        "rows": rows,
    }
    keys = [key for key in next(iter(rows.values()))[0] if key not in ("flagged", "seconds")]
    lines = [
        "| | flagged | " + " | ".join(keys) + " | seconds |",
        "|---|" + "---:|" * (len(keys) + 2),
    ]
    for name, results in rows.items():
        means = {key: float(np.mean([each[key] for each in results])) for key in results[0]}
        cells = [f"{100 * means[key]:.1f}" for key in keys]
        lines.append(
            f"| {name} | {means['flagged']:.0f} | "
            + " | ".join(cells)
            + f" | {means['seconds']:.0f} |"
        )
    write_outputs(args, report, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Clustering metrics: time, NMI and inertia against scikit-learn's k-means with ten restarts.

The size of CUB is measured over several seeds; at the size of SOP only this package is run, once.

    python benchmarks/clustering.py
    python benchmarks/clustering.py --sizes 5924 --noise 2 3 4 --json out.json --markdown out.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from ibc_pyg.metrics import clustering_metrics


@dataclass(frozen=True)
class Case:
    """A kind of data set.

    Attributes:
        samples: Number of samples.
        classes: Number of classes.
        dim: Dimensions.
        noise: Spread of a class, in units of the centres'.
        raw: Whether the vectors keep their lengths; else they have unit length.
    """

    samples: int
    classes: int
    dim: int
    noise: float
    raw: bool


def make(case: Case, seed: int) -> tuple[Any, Any]:
    """Draw vectors around a centre per class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(case.classes, size=case.samples)
    x = rng.normal(size=(case.classes, case.dim))[y]
    x += case.noise * rng.normal(size=(case.samples, case.dim))
    if not case.raw:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32), y


def ours(x: Any, y: Any, seed: int) -> tuple[float, float, dict[str, float]]:
    out = clustering_metrics(x, y, seed=seed)
    return out["NMI"], out["kmeans_inertia"], out


def theirs(x: Any, y: Any, seed: int) -> tuple[float, float, dict[str, float]]:
    fitted = KMeans(len(np.unique(y)), n_init=10, random_state=seed).fit(x)
    nmi = float(normalized_mutual_info_score(y, fitted.labels_))
    return nmi, float(fitted.inertia_) / len(x), {"kmeans_restarts": 10.0}


def measure(
    name: str, run: Callable[..., Any], case: Case, seeds: int, threads: int
) -> dict[str, Any]:
    """Cluster a data set of its own for each seed."""
    taken, nmi, inertia = [], [], []
    about: dict[str, float] = {}
    with threadpool_limits(threads):
        for seed in range(seeds):
            x, y = make(case, seed)
            if seed == 0:
                run(x[:500], y[:500] % 10, 0)
            start = time.perf_counter()
            score, cost, about = run(x, y, seed)
            taken.append(time.perf_counter() - start)
            nmi.append(score)
            inertia.append(cost)
    return {
        **asdict(case),
        "candidate": name,
        "seconds": float(np.median(taken)),
        "nmi_mean": float(np.mean(nmi)),
        "nmi_sd": float(np.std(nmi, ddof=1)) if seeds > 1 else 0.0,
        "inertia_mean": float(np.mean(inertia)),
        "seeds": seeds,
        "restarts": about.get("kmeans_restarts"),
        "iterations": about.get("kmeans_iterations"),
        "swaps": about.get("kmeans_swaps"),
    }


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; D = {report['dim']}.",
        "",
        "| N | clusters | spread | length | candidate | restarts | seconds | times ours | "
        "NMI, mean ± sd | mean squared distance |",
        "|---:|---:|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    base: dict[tuple[int, float, bool], float] = {}
    for row in report["results"]:
        key = (row["samples"], row["noise"], row["raw"])
        base.setdefault(key, row["seconds"])
        out.append(
            f"| {row['samples']:,} | {row['classes']:,} | {row['noise']:g} | "
            f"{'any' if row['raw'] else '1'} | {row['candidate']} | {row['restarts']:.0f} | "
            f"{row['seconds']:.2f} | {row['seconds'] / base[key]:.1f} | "
            f"{row['nmi_mean']:.4f} ± {row['nmi_sd']:.4f} | {row['inertia_mean']:.5f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[5924, 60502], help="numbers of samples")
    add("--noise", type=float, nargs="+", default=[2.0, 3.0, 4.0], help="spreads of a class")
    add("--raw", action="store_true", help="also without normalised lengths")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--dim", type=int, default=512, help="width of an embedding")
    add("--seeds", type=int, default=5, help="seeds at sizes up to 10,000; one above")
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    for n in args.sizes:
        large = n > 10000
        classes = round(n * 11316 / 60502) if large else max(2, round(n / 59.24))
        candidates = {"ibc_pyg": ours} if large else {"ibc_pyg": ours, "scikit-learn": theirs}
        noises = args.noise[:1] if large else args.noise
        for raw, noise in product((False, True) if args.raw else (False,), noises):
            case = Case(n, classes, args.dim, noise, raw)
            for name, run in candidates.items():
                seeds = 1 if large else args.seeds
                rows.append(measure(name, run, case, seeds, args.threads))
                print(rows[-1], flush=True)
    report = {
        "command": "python " + shlex.join(["benchmarks/clustering.py", *sys.argv[1:]]),
        "machine": machine(torch.device("cpu")),
        "dim": args.dim,
        "results": rows,
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

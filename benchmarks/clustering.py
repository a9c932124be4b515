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
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from ibc_pyg.metrics import clustering_metrics


def make(n: int, classes: int, dim: int, noise: float) -> tuple[Any, Any]:
    """Draw unit vectors around a centre per class."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    x = rng.normal(size=(classes, dim))[y] + noise * rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def ours(x: Any, y: Any, seed: int) -> tuple[float, float, dict[str, float]]:
    out = clustering_metrics(x, y, seed=seed)
    return out["NMI"], out["kmeans_inertia"], out


def theirs(x: Any, y: Any, seed: int) -> tuple[float, float, dict[str, float]]:
    fitted = KMeans(len(np.unique(y)), n_init=10, random_state=seed).fit(x)
    nmi = float(normalized_mutual_info_score(y, fitted.labels_))
    return nmi, float(fitted.inertia_) / len(x), {"kmeans_restarts": 10.0}


def measure(
    name: str, run: Callable[..., Any], x: Any, y: Any, noise: float, seeds: int, threads: int
) -> dict[str, Any]:
    taken, nmi, inertia = [], [], []
    about: dict[str, float] = {}
    with threadpool_limits(threads):
        run(x[:500], y[:500] % 10, 0)
        for seed in range(seeds):
            start = time.perf_counter()
            score, cost, about = run(x, y, seed)
            taken.append(time.perf_counter() - start)
            nmi.append(score)
            inertia.append(cost)
    return {
        "samples": len(x),
        "clusters": len(np.unique(y)),
        "noise": noise,
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
        "| N | clusters | spread | candidate | restarts | seconds | times ours | NMI, mean ± sd | "
        "mean squared distance |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    base: dict[tuple[int, float], float] = {}
    for row in report["results"]:
        key = (row["samples"], row["noise"])
        base.setdefault(key, row["seconds"])
        out.append(
            f"| {row['samples']:,} | {row['clusters']:,} | {row['noise']:g} | {row['candidate']} | "
            f"{row['restarts']:.0f} | {row['seconds']:.2f} | {row['seconds'] / base[key]:.1f} | "
            f"{row['nmi_mean']:.4f} ± {row['nmi_sd']:.4f} | {row['inertia_mean']:.5f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[5924, 60502], help="numbers of samples")
    add("--noise", type=float, nargs="+", default=[2.0, 3.0, 4.0], help="spreads of a class")
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
        for noise in args.noise[:1] if large else args.noise:
            x, y = make(n, classes, args.dim, noise)
            candidates = {"ibc_pyg": ours} if large else {"ibc_pyg": ours, "scikit-learn": theirs}
            for name, run in candidates.items():
                seeds = 1 if large else args.seeds
                rows.append(measure(name, run, x, y, noise, seeds, args.threads))
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

"""k-reciprocal neighbourhoods: batched against one sample at a time, with the results compared.

python benchmarks/k_reciprocal.py
python benchmarks/k_reciprocal.py --sizes 2000 --threads 1 --json out.json --markdown out.md
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import extra_peak_bytes, machine

from ibc_pyg.graph.k_reciprocal import k_reciprocal_groups


def direct(x: Any, size: int, k1: int) -> Any:
    """Work through the definition for each sample, from the sorted matrix of all distances."""
    square = (x**2).sum(1)
    distance = square[:, None] + square[None] - 2 * x @ x.T
    np.fill_diagonal(distance, -1)
    order = np.argsort(distance, axis=1)
    half = int(np.around(k1 / 2))
    groups = []
    for i in range(len(x)):
        forward = order[i, : k1 + 1]
        backward = order[forward, : k1 + 1]
        mutual = forward[np.where(backward == i)[0]]
        grown = mutual
        for candidate in mutual:
            forward_c = order[candidate, : half + 1]
            backward_c = order[forward_c, : half + 1]
            mutual_c = forward_c[np.where(backward_c == candidate)[0]]
            if 3 * len(np.intersect1d(mutual_c, mutual)) > 2 * len(mutual_c):
                grown = np.append(grown, mutual_c)
        grown = np.unique(grown)
        group = grown[np.argsort(distance[i, grown])[:size]].tolist()
        k = 0
        while len(group) < size:
            if order[i, k] not in group:
                group.append(int(order[i, k]))
            k += 1
        groups.append(group)
    return np.array(groups)


def make(n: int, dim: int, noise: float) -> Any:
    """Draw unit vectors around a centre per class, as many per class as CUB has."""
    rng = np.random.default_rng(0)
    classes = max(2, round(n / 59.24))
    x = rng.normal(size=(classes, dim))[rng.integers(classes, size=n)]
    x += noise * rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def measure(n: int, noise: float, args: argparse.Namespace) -> dict[str, Any]:
    x = make(n, args.dim, noise)
    features = torch.from_numpy(x)
    k_reciprocal_groups(features[:200], args.size, args.k1)
    extra = extra_peak_bytes(
        lambda: k_reciprocal_groups(features, args.size, args.k1), torch.device("cpu")
    )
    taken = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        ours = k_reciprocal_groups(features, args.size, args.k1)
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    theirs = direct(x, args.size, args.k1)
    one_by_one = time.perf_counter() - start
    start = time.perf_counter()
    features @ features.T
    product = time.perf_counter() - start
    distance = ((x[theirs] - x[:, None]) ** 2).sum(2) - ((x[ours.numpy()] - x[:, None]) ** 2).sum(2)
    return {
        "samples": n,
        "noise": noise,
        "ours": statistics.median(taken),
        "direct": one_by_one,
        "product": product,
        "ratio": one_by_one / statistics.median(taken),
        "extra_bytes": extra,
        "equal_rows": float((ours.numpy() == theirs).all(1).mean()),
        "equal_but_for_ties": float((np.abs(distance) < 1e-5).all(1).mean()),
    }


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; D = {report['dim']}.",
        "",
        "| N | spread | ibc_pyg, s | one by one, s | ratio | product, s | memory, MiB | same |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["results"]:
        out.append(
            f"| {row['samples']:,} | {row['noise']:g} | {row['ours']:.3f} | {row['direct']:.2f} | "
            f"{row['ratio']:.1f} | {row['product']:.3f} | {row['extra_bytes'] / 2**20:.0f} | "
            f"{100 * row['equal_but_for_ties']:.2f} % |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[5924], help="numbers of samples")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--dim", type=int, default=512, help="width of a feature")
    add("--noise", type=float, nargs="+", default=[1.5, 3.0], help="spreads of a class")
    add("--size", type=int, default=7, help="members of a group")
    add("--k1", type=int, default=30)
    add("--repeats", type=int, default=5)
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = {
        "command": "python " + shlex.join(["benchmarks/k_reciprocal.py", *sys.argv[1:]]),
        "machine": machine(torch.device("cpu")),
        "dim": args.dim,
        "results": [measure(n, noise, args) for n in args.sizes for noise in args.noise],
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

"""Cost of refinement without trained weights, beside plain exact search.

A gallery is refined once, where the method allows it, and then 1,000 queries are refined and
searched. Methods that pool queries and gallery have no such split: all is done for the queries.
Descriptors are drawn around centres, five per class as in SOP. Each is measured once, with the
defaults of the method; plain search is measured before and after all methods.

    python benchmarks/refinement_search.py
    python benchmarks/refinement_search.py --gallery 1000 --queries 50 --dim 16 --methods aqe dba
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from _output import add_outputs, write_outputs
from _timing import extra_peak_bytes, machine
from torch import Tensor

from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.refinement import DEFAULTS, refine_vectors, rerank
from ibc_pyg.refinement.average import augment, average
from ibc_pyg.refinement.diffusion import diffuse, seeds
from ibc_pyg.refinement.method import mixed
from ibc_pyg.refinement.neighbours import neighbours
from ibc_pyg.refinement.parameters import POOLED

CPU = torch.device("cpu")
HITS = 10


def make(samples: int, dim: int, noise: float) -> Tensor:
    """Draw unit vectors around a centre per class, five per class."""
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(samples) // 5
    centres = F.normalize(torch.randn(int(y[-1]) + 1, dim, generator=draws), dim=1)
    spread = noise / dim**0.5 * torch.randn(samples, dim, generator=draws)
    return F.normalize(centres[y] + spread, dim=1)[torch.randperm(samples, generator=draws)]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def cost(method: str, x: Tensor, g: Tensor) -> dict[str, float]:
    """Return the seconds of refining the gallery once, and of refining and searching queries."""
    p = DEFAULTS[method]
    once = 0.0
    if method == "aqe":

        def answer() -> Any:
            refined = refine_vectors(method, x, g, p)
            return nearest_neighbours(refined.queries, refined.gallery, HITS)

    elif method == "dba":
        stages = [g]

        def prepare() -> Tensor:
            for _ in range(p.rounds):
                stages.append(augment(stages[-1], None, p.k, p.power, 1)[0])
            return mixed(g, stages[-1], p.share)

        once, searched = timed(prepare)

        def answer() -> Any:
            refined = x
            for stage in stages[:-1]:
                near = neighbours(refined, stage, p.k)
                refined = average(refined, stage, near, p.power)
            return nearest_neighbours(mixed(x, refined, p.share), searched, HITS)

    elif method == "diffusion":
        once, spread = timed(lambda: diffuse(g, p.k, p.power, p.rounds))

        def answer() -> Any:
            start = seeds(x, g, p.k, p.power, same=False)
            indices = []
            for rows in torch.arange(len(x)).split(100):
                score = torch.from_numpy((start[rows.numpy()] @ spread).toarray())
                score /= score.amax(1, keepdim=True).clamp(min=1e-30)
                score.mul_(1 - p.share).add_(x[rows] @ g.T, alpha=p.share)
                indices.append(score.topk(HITS).indices)
            return torch.cat(indices)

    elif method == "gcr":

        def answer() -> Any:
            refined = refine_vectors(method, x, g, p)
            return nearest_neighbours(refined.queries, refined.gallery, HITS)

    else:

        def answer() -> Any:
            return rerank(method, x, g, HITS, p)

    seconds, _ = timed(answer)
    return {"gallery": once, "queries": seconds}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    g = make(args.gallery, args.dim, args.noise)
    x = make(args.queries, args.dim, args.noise)
    nearest_neighbours(x[:2], g[:200], HITS)  # loads code and libraries

    def plain() -> float:
        return timed(lambda: nearest_neighbours(x, g, HITS))[0]

    before, rows = plain(), []
    for method in args.methods:
        found: dict[str, float] = {}
        peak = extra_peak_bytes(lambda m=method, f=found: f.update(cost(m, x, g)), CPU)
        rows.append(
            {"method": method, "parameters": asdict(DEFAULTS[method]), "extra_bytes": peak} | found
        )
        print(rows[-1], flush=True)
    return {"plain": [before, plain()], "methods": rows}


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    plain = sum(report["results"]["plain"]) / 2
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; gallery of {report['gallery']:,}, {report['queries']:,} queries, "
        f"D = {report['dim']}, {HITS} hits. Plain search: "
        f"{report['results']['plain'][0]:.2f} s before and "
        f"{report['results']['plain'][1]:.2f} s after all others.",
        "",
        "| method | gallery once, s | queries, s | queries / plain search | extra memory, MiB |",
        "|---|---:|---:|---:|---:|",
        f"| plain |  | {plain:.2f} | 1.0 |  |",
    ]
    for row in report["results"]["methods"]:
        once = "with the queries" if row["method"] in POOLED else f"{row['gallery']:.1f}"
        out.append(
            f"| `{row['method']}` | {once} | {row['queries']:.2f} | "
            f"{row['queries'] / plain:.1f} | {row['extra_bytes'] / 2**20:,.0f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--gallery", type=int, default=60_502, help="descriptors of the gallery (default: SOP's)")
    add("--queries", type=int, default=1000, help="number of queries")
    add("--dim", type=int, default=128, help="width of a descriptor")
    add("--noise", type=float, default=0.8, help="spread of a class")
    add("--methods", nargs="+", choices=list(DEFAULTS), default=list(DEFAULTS))
    add("--threads", type=int, default=2, help="CPU threads")
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = {
        "command": "python " + shlex.join(["benchmarks/refinement_search.py", *sys.argv[1:]]),
        "machine": machine(CPU),
        "gallery": args.gallery,
        "queries": args.queries,
        "dim": args.dim,
        "results": measure(args),
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

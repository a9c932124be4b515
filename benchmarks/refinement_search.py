"""Cost of refinement, beside plain exact search.

A gallery is refined once, where the method allows it, and then 1,000 queries are refined and
searched. Methods that pool queries and gallery have no such split: all is done for the queries.
Descriptors are drawn around centres, by default five per class as in SOP. Each method is measured
once, in a process of its own that is stopped after `--limit` seconds, with its defaults (`refiner`:
with random weights); plain search is measured before and after all methods. All seconds are those
of the processor, of all threads together, which other work on the machine changes little. With
`--ann`, neighbours and hits are those of the approximate search of an index, and vectors are in
files.

    python benchmarks/refinement_search.py
    python benchmarks/refinement_search.py --gallery 1000 --queries 50 --dim 16 --methods aqe dba
    python benchmarks/refinement_search.py --gallery 1000000 --per-class 100 --methods aqe dba --ann
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _output import add_outputs, write_outputs
from _timing import extra_peak_bytes, machine
from torch import Tensor

from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.refinement import DEFAULTS, Parameters, refine_vectors, rerank
from ibc_pyg.refinement.average import augment, average
from ibc_pyg.refinement.diffusion import diffuse, seeds
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.refiner import Refiner
from ibc_pyg.refinement.method import mixed
from ibc_pyg.refinement.neighbours import neighbours
from ibc_pyg.refinement.parameters import POOLED

CPU = torch.device("cpu")
HITS = 10
METHODS = [*DEFAULTS, "refiner"]
LEARNED = RefinerConfig()
PARAMETERS = {**DEFAULTS, "refiner": Parameters(LEARNED.k, 0, LEARNED.rounds, 0.5)}


def make(samples: int, args: argparse.Namespace) -> Tensor:
    """Draw unit vectors around a centre per class."""
    draws, dim, noise = torch.Generator().manual_seed(0), args.dim, args.noise
    y = torch.arange(samples) // args.per_class
    centres = F.normalize(torch.randn(int(y[-1]) + 1, dim, generator=draws), dim=1)
    spread = noise / dim**0.5 * torch.randn(samples, dim, generator=draws)
    return F.normalize(centres[y] + spread, dim=1)[torch.randperm(samples, generator=draws)]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def cost(method: str, x: Tensor, g: Tensor) -> dict[str, float]:
    """Return the seconds of refining the gallery once, and of refining and searching queries."""
    p = PARAMETERS[method]
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

    elif method == "refiner":
        refiner = Refiner(g.shape[1], LEARNED, share=p.share).eval()
        once, gallery = timed(lambda: refiner.gallery(g))

        def answer() -> Any:
            return nearest_neighbours(refiner.queries(x, gallery), gallery.vectors, HITS)

    elif method == "gcr":

        def answer() -> Any:
            refined = refine_vectors(method, x, g, p)
            return nearest_neighbours(refined.queries, refined.gallery, HITS)

    else:

        def answer() -> Any:
            return rerank(method, x, g, HITS, p)

    seconds, _ = timed(answer)
    return {"gallery": once, "queries": seconds}


def cost_in_index(method: str, x: Tensor, g: Tensor) -> dict[str, float]:
    """Return what `cost` does for `aqe` and `dba` in an index with approximate search."""
    from rich.console import Console

    from ibc_pyg.retrieval.ann.build import build_ann
    from ibc_pyg.retrieval.ann.record import AnnSettings
    from ibc_pyg.retrieval.ann.searcher import Searcher
    from ibc_pyg.retrieval.nearest import NearestRows
    from ibc_pyg.retrieval.refined.averages import augmented, expanded, write_averages
    from ibc_pyg.retrieval.refined.record import FOLDER
    from ibc_pyg.retrieval.refined.writing import Writing

    p, settings, console = PARAMETERS[method], AnnSettings("ivf"), Console(stderr=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / FOLDER).mkdir()
        g.numpy().tofile(folder / "vectors")
        vectors = np.asarray(np.memmap(folder / "vectors", np.float32, "c", shape=tuple(g.shape)))
        build, _ = timed(lambda: build_ann(folder, 1, vectors, None, settings, console))
        searcher, refined = Searcher(folder), Searcher(folder / FOLDER)

        def find(_: int, queries: Any, k: int) -> NearestRows:
            return searcher.search(vectors, 1, settings, queries, k, None)

        out = {"build": build, "plain": timed(lambda: find(0, x.numpy(), HITS))[0]}
        if method == "aqe":
            seconds, _ = timed(lambda: find(0, expanded(x.numpy(), vectors, find, p), HITS))
            return out | {"gallery": 0.0, "queries": seconds}
        live = np.ones(len(vectors), np.bool_)
        files = Writing(folder, vectors, live, lambda q, k: find(0, q, k), console)
        once, last = timed(lambda: write_averages(files, p))
        again, _ = timed(lambda: build_ann(folder / FOLDER, 1, last, None, settings, console))

        def answer() -> Any:
            both = augmented(x.numpy(), [vectors], find, p)
            return refined.search(last, 1, settings, both, HITS, None)

        return out | {"gallery": once, "build_refined": again, "queries": timed(answer)[0]}


def in_child(args: argparse.Namespace, method: str, results: Any) -> None:
    """Measure a method in a process of its own, which the system stops at the limit."""
    resource.setrlimit(resource.RLIMIT_CPU, (args.limit, args.limit))
    torch.set_num_threads(args.threads)
    g = make(args.gallery, args)
    x = make(args.queries, args)
    nearest_neighbours(x[:2], g[:200], HITS)  # loads code and libraries
    found: dict[str, float] = {}
    run = cost_in_index if args.ann else cost
    peak = extra_peak_bytes(lambda: found.update(run(method, x, g)), CPU)
    results.put(found | {"extra_bytes": peak})


def measure(args: argparse.Namespace) -> dict[str, Any]:
    def plain() -> float:
        g = make(args.gallery, args)
        x = make(args.queries, args)
        nearest_neighbours(x[:2], g[:200], HITS)
        return timed(lambda: nearest_neighbours(x, g, HITS))[0]

    before, rows, spawn = plain(), [], multiprocessing.get_context("spawn")
    for method in args.methods:
        results = spawn.SimpleQueue()
        child = spawn.Process(target=in_child, args=(args, method, results))
        child.start()
        child.join()
        row: dict[str, Any] = {"method": method, "parameters": asdict(PARAMETERS[method])}
        if child.exitcode == 0:
            row |= results.get()
        elif child.exitcode not in (-signal.SIGXCPU, -signal.SIGKILL):
            raise SystemExit(f"{method} failed")
        rows.append(row)
        print(row, flush=True)
    return {"plain": [before, plain()], "methods": rows}


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    plain = sum(report["results"]["plain"]) / 2 or math.nan  # 0: less than a tick of the clock
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; gallery of {report['gallery']:,}, {report['queries']:,} queries, "
        f"D = {report['dim']}, {report['per_class']} of a class, {HITS} hits. Processor seconds. "
        f"Plain exact search: {report['results']['plain'][0]:.2f} s before and "
        f"{report['results']['plain'][1]:.2f} s after all others; load of the machine "
        f"{report['load']:.1f} at the end.",
        "",
        "| method | gallery once, s | queries, s | queries / plain search | extra memory, MiB |",
        "|---|---:|---:|---:|---:|",
        f"| plain |  | {plain:.2f} | 1.0 |  |",
    ]
    for row in report["results"]["methods"]:
        if "queries" not in row:
            out.append(f"| `{row['method']}` | stopped after {report['limit']:g} s |  |  |  |")
            continue
        times = row["queries"] / plain
        once = "with the queries" if row["method"] in POOLED else f"{row['gallery']:.1f}"
        out.append(
            f"| `{row['method']}` | {once} | {row['queries']:.2f} | "
            f"{times:.{1 if times > 1 else 3}f} | {row['extra_bytes'] / 2**20:,.0f} |"
        )
    parts = [
        f"`{row['method']}`: inverted lists built in {row['build']:.0f} s, plain approximate "
        f"search {row['plain']:.2f} s"
        + (
            f", those of the refined ones in {row['build_refined']:.0f} s"
            if "build_refined" in row
            else ""
        )
        for row in report["results"]["methods"]
        if "build" in row
    ]
    return "\n".join([*out, *(["", "; ".join(parts) + "."] if parts else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--gallery", type=int, default=60_502, help="descriptors of the gallery (default: SOP's)")
    add("--queries", type=int, default=1000, help="number of queries")
    add("--dim", type=int, default=128, help="width of a descriptor")
    add("--noise", type=float, default=0.8, help="spread of a class")
    add("--per-class", type=int, default=5, help="descriptors of a class (default: SOP's)")
    add("--methods", nargs="+", choices=METHODS, default=METHODS)
    add("--ann", action="store_true", help="in an index with inverted lists; aqe and dba alone")
    add("--limit", type=int, default=600, help="processor seconds after which a method is stopped")
    add("--threads", type=int, default=1, help="CPU threads")
    add_outputs(parser)
    args = parser.parse_args()
    if args.ann and not set(args.methods) <= {"aqe", "dba"}:
        parser.error("--ann goes with --methods aqe dba")
    torch.set_num_threads(args.threads)
    results = measure(args)
    report = {
        "command": "python " + shlex.join(["benchmarks/refinement_search.py", *sys.argv[1:]]),
        "machine": machine(CPU),
        "gallery": args.gallery,
        "queries": args.queries,
        "dim": args.dim,
        "per_class": args.per_class,
        "noise": args.noise,
        "limit": args.limit,
        "load": os.getloadavg()[0],
        "results": results,
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

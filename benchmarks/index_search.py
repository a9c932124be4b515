"""Search in large indexes: the exact and the approximate search of this package beside others.

Every candidate runs in a process of its own, on the same vectors and with the same threads. The
vectors are random clusters, or `--vectors` of photographs resampled with noise, of which `--copies`
are near-copies. Queries are vectors like those of the index, which are not in it. A
candidate with several settings gives a row for each until the recall is reached.

    python benchmarks/index_search.py --sizes 100000 1000000 --dim 128
    python benchmarks/index_search.py --vectors photographs.npy --sizes 1000000
    python benchmarks/index_search.py --open-only 10000000 --dim 128
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from _output import add_outputs, write_outputs
from _timing import _reset_peak, _status, machine

HERE = Path(__file__).resolve()
K = 10
TITLES = {
    "flat": "faiss IndexFlatIP",
    "exact": "**ibc_pyg**, exact",
    "ivf": "**ibc_pyg**, ivf",
    "hnsw": "**ibc_pyg**, hnsw",
    "faiss-hnsw": "faiss IndexHNSWFlat",
    "usearch": "usearch",
    "hnswlib": "hnswlib",
}
MODULES = {"usearch": "usearch", "hnswlib": "hnswlib"}
M, EF_CONSTRUCTION = 16, 100
Search = Callable[[Any], Any]


def unit(x: Any) -> Any:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def make_vectors(args: argparse.Namespace, rows: int, folder: Path) -> None:
    """Write `rows` vectors to search in, and the queries behind them."""
    rng = np.random.default_rng(0)
    base = None if args.vectors is None else unit(np.load(args.vectors).astype(np.float32))
    dim = args.dim if base is None else base.shape[1]
    centres = rng.normal(size=(max(1, rows // 100), dim)).astype(np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows + args.queries, dim))
    for start in range(0, len(x), 50_000):
        n = min(50_000, len(x) - start)
        noise = rng.normal(size=(n, dim)).astype(np.float32)
        if base is None:
            x[start : start + n] = unit(
                centres[rng.integers(len(centres), size=n)] + noise * args.noise
            )
            continue
        chosen = base[rng.integers(len(base), size=n)]
        # A resampled picture differs by a third of a unit vector, a near-copy by a hundredth.
        size = np.where(rng.random((n, 1)) < args.copies, 0.01, 1 / 3) / dim**0.5
        x[start : start + n] = unit(chosen + size * noise)
    x.flush()


def candidate(name: str, x: Any, folder: Path) -> tuple[dict[str, Any], list[tuple[str, Search]]]:
    """Build a candidate; return facts and its settings, each with a search."""
    import faiss

    dim = x.shape[1]
    if name == "flat":
        flat = faiss.IndexFlatIP(dim)
        flat.add(x)
        return {}, [("", lambda q: flat.search(q, K)[1])]
    if name == "exact":
        from ibc_pyg.retrieval.nearest import nearest_rows

        return {}, [("", lambda q: nearest_rows(x, q, K, None).rows)]
    if name in ("ivf", "hnsw"):
        from rich.console import Console

        from ibc_pyg.retrieval.ann.build import build_ann
        from ibc_pyg.retrieval.ann.record import AnnSettings
        from ibc_pyg.retrieval.ann.searcher import Searcher

        settings = AnnSettings(name)  # type: ignore[arg-type]
        record = build_ann(folder, 1, x, None, settings, Console(stderr=True))
        assert record is not None
        searcher = Searcher(folder)
        start = time.perf_counter()
        searcher.current(x, 1, settings)
        facts = {
            "effort": record.effort,
            "parameters": record.parameters,
            "measured_recall": record.recall,
            "seconds_of": record.seconds,
            "open_seconds": time.perf_counter() - start,
            "file_bytes": record.size,
        }
        return facts, [
            (f"effort {record.effort}", lambda q: searcher.search(x, 1, settings, q, K, None).rows)
        ]
    efforts = (16, 32, 64, 128, 256, 512)
    if name == "faiss-hnsw":
        graph = faiss.IndexHNSWFlat(dim, M, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        graph.add(x)

        def by_faiss(ef: int) -> Search:
            return lambda q: graph.search(q, K, params=faiss.SearchParametersHNSW(efSearch=ef))[1]

        return {}, [(f"ef {ef}", by_faiss(ef)) for ef in efforts]
    if name == "hnswlib":
        import hnswlib

        index = hnswlib.Index("ip", dim)
        index.init_index(len(x), M=M, ef_construction=EF_CONSTRUCTION)
        index.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        index.add_items(x)

        def by_hnswlib(ef: int) -> Search:
            def search(q: Any) -> Any:
                index.set_ef(ef)
                return index.knn_query(q, K)[0]

            return search

        return {}, [(f"ef {ef}", by_hnswlib(ef)) for ef in efforts]
    from usearch.index import Index

    threads = int(os.environ["OMP_NUM_THREADS"])
    found = Index(ndim=dim, metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
    found.add(np.arange(len(x)), x, threads=threads)

    def by_usearch(ef: int) -> Search:
        def search(q: Any) -> Any:
            found.expansion_search = ef
            return found.search(q, K, threads=threads).keys

        return search

    return {}, [(f"ef {ef}", by_usearch(ef)) for ef in efforts]


def worker(request: dict[str, Any]) -> dict[str, Any]:
    """Build and time one candidate."""
    import torch

    torch.set_num_threads(request["threads"])
    folder, rows, name = Path(request["folder"]), request["rows"], request["name"]
    if name in ("exact", "ivf", "hnsw"):
        # Code and libraries are no part of what is measured.
        import_module("ibc_pyg.retrieval.ann.build")
    everything = np.load(folder / "x.npy", mmap_mode="c")
    x, q = np.asarray(everything[:rows]), np.array(everything[rows:])
    if name in ("flat", "faiss-hnsw", "hnswlib", "usearch"):
        x = np.array(x)
    _reset_peak()
    before, start = _status("VmRSS"), time.perf_counter()
    facts, settings = candidate(name, x, folder)
    built = time.perf_counter() - start
    truth_file, tried = folder / "truth.npy", []
    for setting, search in settings:
        search(q[:10])
        start = time.perf_counter()
        found = search(q)
        batch = time.perf_counter() - start
        single = []
        for i in range(min(50, len(q))):
            start = time.perf_counter()
            search(q[i : i + 1])
            single.append(time.perf_counter() - start)
        if name == "flat":
            np.save(truth_file, found)
        truth = np.load(truth_file)
        recall = float(np.mean([len({*a} & {*b}) / K for a, b in zip(found, truth, strict=True)]))
        tried.append(
            {
                "setting": setting,
                "queries_per_second": len(q) / batch,
                "single_ms": 1000 * float(np.median(single)),
                "recall": recall,
            }
        )
        if recall >= request["recall"]:
            break
    return {
        "build_seconds": built,
        "peak_bytes": _status("VmHWM") - before,
        "tried": tried,
        "machine": machine(torch.device("cpu")),
        **facts,
    }


def open_only(rows: int, dim: int) -> dict[str, Any]:
    """Open an index whose vector file is sparse, without a query."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        code = (
            "import sys, numpy as np; sys.path[:0] = [sys.argv[1]]\n"
            "from pathlib import Path\n"
            "from tests.helpers.vector_index import make_vector_index\n"
            "make_vector_index(Path(sys.argv[2]), np.eye(2, int(sys.argv[3]), dtype=np.float32))"
        )
        root = str(HERE.parents[1])
        environment = {**os.environ, "PYTHONPATH": root}
        subprocess.run(
            [sys.executable, "-c", code, root, str(path), str(dim)], check=True, env=environment
        )
        import sqlite3

        with sqlite3.connect(path / "catalogue.sqlite") as sql:
            sql.execute("UPDATE meta SET value = ? WHERE key = 'rows'", (rows,))
        (vectors,) = path.glob("*.f32")
        with vectors.open("r+b") as file:
            file.truncate(rows * dim * 4)
        code = (
            "import sys, time\nfrom ibc_pyg.retrieval.index import Index\n"
            "from benchmarks._timing import _status\n"
            "before, start = _status('VmRSS'), time.perf_counter()\n"
            "index = Index.open(sys.argv[1]); vectors = index.vectors\n"
            "print(time.perf_counter() - start, before, _status('VmRSS'), len(vectors))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            check=True, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        seconds, before, after, found = done.stdout.split()
    return {
        "rows": int(found),
        "dim": dim,
        "open_seconds": float(seconds),
        "resident_bytes": int(after),
        "imports_bytes": int(before),
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    about: dict[str, str] = {}
    dim = args.dim
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            make_vectors(args, size, Path(folder))
            dim = int(np.load(Path(folder) / "x.npy", mmap_mode="r").shape[1])
            # The flat search gives the truth.
            for name in ["flat", *(each for each in args.candidates if each != "flat")]:
                row: dict[str, Any] = {"rows": size, "candidate": name}
                rows.append(row)
                if name in MODULES and find_spec(MODULES[name]) is None:
                    row["left_out"] = "not installed"
                    continue
                request = {"name": name, "rows": size, "folder": folder}
                request |= {"threads": args.threads, "recall": args.recall}
                done = subprocess.run(
                    [sys.executable, str(HERE), "--worker", json.dumps(request)],
                    env={**os.environ, "OMP_NUM_THREADS": str(args.threads)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
                    row["left_out"] = f"failed: {lines[-1]}"
                else:
                    row |= json.loads(done.stdout.splitlines()[-1])
                    about = row.pop("machine")
                print(json.dumps(row), file=sys.stderr, flush=True)
    opened = [open_only(rows, args.dim) for rows in args.open_only]
    return {
        "command": "python " + shlex.join(["benchmarks/index_search.py", *sys.argv[1:]]),
        "machine": about or {"date": time.strftime("%Y-%m-%d")},
        "dim": dim,
        "data": "random clusters" if args.vectors is None else "resampled photographs",
        "noise": args.noise,
        "results": rows,
        "opened": opened,
        "load": os.getloadavg()[0],
    }


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; {report['data']}, D = {report['dim']}; load of the machine "
        f"{report['load']:.1f} at the end.",
        "",
    ]
    if report["results"]:
        out += [
            "| N | candidate | setting | build, s | memory, MiB | queries/s | times flat | "
            "one query, ms | recall@10 |",
            "|---:|---|---|---:|---:|---:|---:|---:|---:|",
        ]
    flat = {
        row["rows"]: row["tried"][-1]["queries_per_second"]
        for row in report["results"]
        if row["candidate"] == "flat" and "tried" in row
    }
    for row in report["results"]:
        head = f"| {row['rows']:,} | {TITLES[row['candidate']]} |"
        if "left_out" in row:
            out.append(f"{head} {row['left_out']} | - | - | - | - | - | - |")
            continue
        best = row["tried"][-1]
        speed = best["queries_per_second"]
        times = f"{speed / flat[row['rows']]:.1f}" if row["rows"] in flat else "-"
        out.append(
            f"{head} {best['setting']} | {row['build_seconds']:.1f} | "
            f"{row['peak_bytes'] / 2**20:.0f} | {speed:,.0f} | {times} | {best['single_ms']:.2f} | "
            f"{best['recall']:.3f} |"
        )
    for each in report["opened"]:
        out.append(
            f"\nOpening {each['rows']:,} x {each['dim']}: {each['open_seconds']:.3f} s, "
            f"{each['resident_bytes'] / 2**20:.0f} MiB resident before the first query, of which "
            f"{each['imports_bytes'] / 2**20:.0f} MiB are the imported libraries."
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", nargs="*", type=int, default=[100_000], help="numbers of vectors")
    add("--dim", type=int, default=128, help="length of a vector of random clusters")
    add("--noise", type=float, default=0.5, help="spread of a cluster, in units of the centres'")
    add("--vectors", type=Path, metavar="NPY", help="vectors [N, D] of photographs to resample")
    add("--copies", type=float, default=0.05, help="share of near-copies among the resampled")
    add("--queries", type=int, default=1000, help="number of queries")
    add("--candidates", nargs="+", default=list(TITLES), choices=list(TITLES))
    add("--recall", type=float, default=0.95, help="recall@10 at which no further setting is tried")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--scratch", type=Path, help="folder for the vectors")
    add("--open-only", nargs="*", type=int, default=[], metavar="N", help="also open empty indexes")
    add_outputs(parser)
    add("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(worker(json.loads(args.worker))))
        return
    report = run(args)
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

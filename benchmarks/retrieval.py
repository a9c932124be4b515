"""Retrieval metrics at benchmark sizes, against four other implementations and bare products.

Every candidate runs in a process of its own, on the same arrays and with the same threads. Each
computes what it offers: this package R@k, MAP@R and RP; faiss and the full sort the same from
sorted lists; pytorch-metric-learning R@1, MAP@R and RP; open-metric-learning R@k and MAP at the
largest R.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --sizes 5924 inshop --threads 2 --json out.json --markdown out.md
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _output import add_outputs, write_outputs

HERE = Path(__file__).resolve()
SIZES = ["5924", "20000", "60502", "inshop"]
CANDIDATES = ["product", "onednn", "ours", "argsort", "pml", "oml", "faiss"]
TITLES = {
    "product": "bare matrix product, in chunks",
    "onednn": "the same by oneDNN",
    "ours": "**ibc_pyg**",
    "argsort": "full pairwise + argsort",
    "pml": "pytorch-metric-learning",
    "oml": "open-metric-learning",
    "faiss": "faiss.IndexFlatIP",
}


@dataclass(frozen=True)
class Case:
    """One size of the problem.

    Attributes:
        name: of the row.
        queries: number of queries, of the whole set if it has no gallery.
        gallery: items of the gallery, 0 if the queries search one another.
        classes: number of classes.
        ks: the k of R@k.
        noise: spread of a class, in units of the centres'.
    """

    name: str
    queries: int
    gallery: int
    classes: int
    ks: tuple[int, ...]
    noise: float


def case_for(size: str) -> Case:
    if size == "inshop":
        return Case("In-Shop 14,218 x 12,612", 14218, 12612, 3985, (1, 10, 20, 30, 40), 2.5)
    n = int(size)
    if n <= 10000:  # as many images per class as CUB has
        return Case(f"{n:,}", n, 0, max(2, round(n / 59.24)), (1, 2, 4, 8), 3.5)
    return Case(f"{n:,}", n, 0, round(n * 11316 / 60502), (1, 10, 100, 1000), 2.5)


def make_arrays(case: Case, dim: int, folder: Path) -> None:
    """Write unit vectors around a centre per class; class sizes vary as draws do."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(case.classes, dim)).astype(np.float32)
    for part, count in (("query", case.queries), ("gallery", case.gallery)):
        y = rng.integers(case.classes, size=count)
        x = centres[y] + case.noise * rng.normal(size=(count, dim)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        np.save(folder / f"{part}.npy", x.astype(np.float32))
        np.save(folder / f"{part}_labels.npy", y)


def from_lists(hit: Any, matches: Any, ks: tuple[int, ...]) -> dict[str, float]:
    """R@k, MAP@R and RP from sorted lists of hits [Q, L]."""
    hit, r = hit[matches > 0], matches[matches > 0, None]
    within = hit & (np.arange(hit.shape[1]) < r)
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    out = {f"R@{k}": float(hit[:, :k].any(1).mean()) for k in ks}
    out["MAP@R"] = float(((precision * within).sum(1) / r[:, 0]).mean())
    out["RP"] = float((within.sum(1) / r[:, 0]).mean())
    return out


def without_self(lists: Any, k: int) -> Any:
    """Take every query out of its own list, [Q, k + 1] to [Q, k]."""
    own = lists == np.arange(len(lists))[:, None]
    own[~own.any(1), -1] = True
    return lists[~own].reshape(len(lists), k)


def candidate(name: str, case: Case, q: Any, qy: Any, g: Any, gy: Any) -> Callable[[], Any]:
    """Build the call that is timed, from arrays; g and gy are None without a gallery."""
    import torch

    same = g is None
    base, base_y = (q, qy) if same else (g, gy)
    matches = np.bincount(base_y, minlength=int(qy.max()) + 1)[qy] - int(same)
    longest = min(max(*case.ks, int(matches.max())), len(base) - int(same))
    tq, tb = torch.from_numpy(q), torch.from_numpy(base)
    tqy, tby = torch.from_numpy(qy), torch.from_numpy(base_y)

    def product() -> None:
        out = torch.empty(min(2048, len(q)), len(base))
        for start in range(0, len(q), 2048):
            part = tq[start : start + 2048]
            torch.mm(part, tb.T, out=out[: len(part)])

    def onednn() -> None:
        right = tb.to_mkldnn()
        for start in range(0, len(q), 512):
            torch.nn.functional.linear(tq[start : start + 512].to_mkldnn(), right)

    def ours() -> dict[str, float]:
        from ibc_pyg.metrics import retrieval_metrics

        return retrieval_metrics(
            tq, tqy, gallery=None if same else tb, gallery_labels=None if same else tby, ks=case.ks
        )

    def argsort() -> dict[str, float]:
        similarity = q @ base.T
        if same:
            np.fill_diagonal(similarity, -np.inf)
        order = np.argsort(-similarity, axis=1)[:, : len(base) - int(same)]
        return from_lists(base_y[order] == qy[:, None], matches, case.ks)

    def pml() -> dict[str, float]:
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        calculator = AccuracyCalculator(
            include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
            k="max_bin_count",
            device=torch.device("cpu"),
        )
        out = (
            calculator.get_accuracy(tq, tqy) if same else calculator.get_accuracy(tq, tqy, tb, tby)
        )
        return {
            "R@1": out["precision_at_1"],
            "MAP@R": out["mean_average_precision_at_r"],
            "RP": out["r_precision"],
        }

    def oml() -> dict[str, float]:
        from oml.functional.knn import batched_knn, batched_knn_qg
        from oml.functional.metrics import calc_retrieval_metrics

        if same:
            ids = torch.arange(len(tq))
            _, found, truth = batched_knn(tq, ids, ids, longest, labels_gt=tqy)
        else:
            _, found, truth = batched_knn_qg(tq, tb, longest, tqy, tby)
        out = calc_retrieval_metrics(
            found,
            truth,
            cmc_top_k=case.ks,
            precision_top_k=(),
            map_top_k=(int(matches.max()),),
            verbose=False,
        )
        return {f"R@{k}": float(out["cmc"][k]) for k in case.ks}

    def by_faiss() -> dict[str, float]:
        import faiss

        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        found = index.search(q, longest + int(same))[1]
        if same:
            found = without_self(found, longest)
        return from_lists(base_y[found] == qy[:, None], matches, case.ks)

    return {
        "product": product,
        "onednn": onednn,
        "ours": ours,
        "argsort": argsort,
        "pml": pml,
        "oml": oml,
        "faiss": by_faiss,
    }[name]


def worker(name: str, case: Case, threads: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Time one candidate, and find its peak of memory above the loaded inputs."""
    import torch
    from _timing import extra_peak_bytes, machine

    torch.set_num_threads(threads)
    if name in ("faiss", "pml"):
        import faiss

        faiss.omp_set_num_threads(threads)
    q, qy = np.load(folder / "query.npy"), np.load(folder / "query_labels.npy")
    g, gy = np.load(folder / "gallery.npy"), np.load(folder / "gallery_labels.npy")
    gallery: tuple[Any, Any] = (g, gy) if case.gallery else (None, None)
    # A small call loads code and libraries, outside of what is measured.
    small = Case("", 300, 100, 0, (1, 2), 0.0)
    y = np.arange(300) % 20
    candidate(name, small, q[:300], y, g[:100] if case.gallery else None, y[:100])()
    call = candidate(name, case, q, qy, *gallery)
    taken: list[float] = []
    values: list[Any] = []

    def once() -> None:
        start = time.perf_counter()
        values.append(call())
        taken.append(time.perf_counter() - start)

    extra = extra_peak_bytes(once, torch.device("cpu"))
    while len(taken) < repeats and sum(taken) < 60:
        once()
    return {
        "seconds": statistics.median(taken),
        "repeats": len(taken),
        "extra_bytes": extra,
        "values": values[0],
        "machine": machine(torch.device("cpu")),
    }


def installed(name: str) -> bool:
    from importlib.util import find_spec

    module = {"pml": "pytorch_metric_learning", "oml": "oml", "faiss": "faiss"}.get(name)
    return module is None or find_spec(module) is not None


def run(args: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    about: dict[str, str] = {}
    for size in args.sizes:
        case = case_for(size)
        if args.noise is not None:
            case = replace(case, noise=args.noise)
        with tempfile.TemporaryDirectory() as folder:
            make_arrays(case, args.dim, Path(folder))
            for name in args.candidates:
                reason = ""
                if not installed(name):
                    reason = "not installed"
                elif name == "argsort" and case.queries > args.argsort_up_to:
                    reason = f"N x N does not fit above {args.argsort_up_to:,}"
                row: dict[str, Any] = {"case": case.name, "noise": case.noise, "candidate": name}
                if not reason:
                    request = {
                        "name": name,
                        "case": asdict(case),
                        "threads": args.threads,
                        "repeats": args.repeats,
                        "folder": folder,
                    }
                    done = subprocess.run(
                        [sys.executable, str(HERE), "--worker", json.dumps(request)],
                        env={**os.environ, "OMP_NUM_THREADS": str(args.threads)},
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if done.returncode == 0:
                        answer = json.loads(done.stdout.splitlines()[-1])
                        about = answer.pop("machine")
                        row |= answer
                    else:
                        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
                        reason = f"failed: {lines[-1]}"
                if reason:
                    row["left_out"] = reason
                rows.append(row)
                print(line(row), flush=True)
    return {
        "command": "python " + shlex.join(["benchmarks/retrieval.py", *sys.argv[1:]]),
        "machine": about,
        "dim": args.dim,
        "results": rows,
    }


def line(row: dict[str, Any]) -> str:
    head = f"{row['case']:<24} {row['candidate']:<8}"
    if "left_out" in row:
        return f"{head} left out: {row['left_out']}"
    values = ", ".join(f"{k} {v:.4f}" for k, v in (row["values"] or {}).items() if k[0] in "RM")
    return f"{head} {row['seconds']:8.2f} s  {row['extra_bytes'] / 2**20:8.0f} MiB  {values}"


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; D = {report['dim']}.",
        "",
        "| N | candidate | seconds | times ours | times the product | extra memory, MiB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    seconds = {(r["case"], r["candidate"]): r.get("seconds") for r in report["results"]}
    for row in report["results"]:
        title = TITLES[row["candidate"]]
        if "left_out" in row:
            out.append(f"| {row['case']} | {title} | - | - | - | {row['left_out']} |")
            continue
        against = [
            f"{row['seconds'] / base:.2f}" if (base := seconds.get((row["case"], other))) else "-"
            for other in ("ours", "product")
        ]
        out.append(
            f"| {row['case']} | {title} | {row['seconds']:.2f} | {against[0]} | {against[1]} | "
            f"{row['extra_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", nargs="+", default=SIZES, help="numbers of images, or inshop")
    add("--candidates", nargs="+", default=CANDIDATES, choices=CANDIDATES)
    add("--threads", type=int, default=2, help="CPU threads")
    add("--dim", type=int, default=512, help="width of an embedding")
    add("--noise", type=float, help="spread of a class; by default one for each size")
    add("--repeats", type=int, default=3, help="timed calls at most; none is started after 60 s")
    add("--argsort-up-to", type=int, default=20000, help="largest N of the full sort")
    add_outputs(parser)
    add("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        request = json.loads(args.worker)
        request["case"]["ks"] = tuple(request["case"]["ks"])
        request["case"] = Case(**request["case"])
        request["folder"] = Path(request["folder"])
        print(json.dumps(worker(**request)))
        return
    report = run(args)
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

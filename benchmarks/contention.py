"""Retrieval metrics and training steps on cores that other processes use too.

Every candidate runs in a process of its own, alone and beside processes that keep a core busy.
The metrics are called as a library, with torch's default waiting policy; pytorch-metric-learning
and faiss likewise. The training step runs with the policy that the commands set, and with torch's.

    python benchmarks/contention.py
    python benchmarks/contention.py --sizes 5924 --busy 0 1 --json out.json --markdown out.md
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _output import add_outputs, write_outputs
from retrieval import TITLES, candidate, case_for, make_arrays

HERE = Path(__file__).resolve()
SIZES = ["5924", "inshop", "training"]
RIVALS = ["ours", "pml", "faiss"]
POLICIES = ["commands' waiting", "torch's waiting"]
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` cores busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def worker(request: dict[str, Any]) -> dict[str, Any]:
    """Time the calls of one candidate."""
    import torch
    from _timing import machine

    torch.set_num_threads(request["threads"])
    if request["size"] == "training":
        taken = training_steps(request["threads"], request["repeats"])
    else:
        taken = metric_calls(request)
    return {"seconds": taken, "machine": machine(torch.device("cpu"))}


def metric_calls(request: dict[str, Any]) -> list[float]:
    if request["name"] != "ours":
        import faiss

        faiss.omp_set_num_threads(request["threads"])
    case, folder = case_for(request["size"]), Path(request["folder"])
    q, qy = np.load(folder / "query.npy"), np.load(folder / "query_labels.npy")
    g, gy = np.load(folder / "gallery.npy"), np.load(folder / "gallery_labels.npy")
    gallery: tuple[Any, Any] = (g, gy) if case.gallery else (None, None)
    call = candidate(request["name"], case, q, qy, *gallery)
    call()
    taken = []
    for _ in range(request["repeats"]):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def training_steps(threads: int, repeats: int) -> list[float]:
    """Return seconds a step, loading included, of `repeats` runs of 20 steps."""
    from _training_case import config_of, measure_whole

    from ibc_pyg.commands.options.process import keep_freed_memory
    from ibc_pyg.training.experiment import setup

    keep_freed_memory()
    config = config_of("glyphs", Path(), ["--train.threads", str(threads)])
    return [measure_whole(setup(config), 20)[0] for _ in range(repeats)]


def run(args: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    about: dict[str, str] = {}
    for size in args.sizes:
        names = POLICIES if size == "training" else RIVALS
        with tempfile.TemporaryDirectory() as folder:
            if size != "training":
                make_arrays(case_for(size), 512, Path(folder))
            for busy in args.busy:
                for name in names:
                    request = {
                        "size": size,
                        "name": name,
                        "threads": args.threads,
                        "repeats": args.repeats,
                        "folder": folder,
                    }
                    with busy_processes(busy):
                        answer = ask(request)
                    about = answer.pop("machine")
                    rows.append({"size": size, "busy": busy, "candidate": name} | answer)
                    print(size, busy, name, *(f"{s:.3f}" for s in answer["seconds"]), flush=True)
    return {
        "command": "python " + shlex.join(["benchmarks/contention.py", *sys.argv[1:]]),
        "machine": about,
        "results": rows,
    }


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Run `worker` in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in WAITING}
    environment["OMP_NUM_THREADS"] = str(request["threads"])
    done = subprocess.run(
        [sys.executable, str(HERE), "--worker", json.dumps(request)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{request['name']} failed: {done.stderr[-1000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; D = 512; medians, and the range in brackets.",
        "",
        "| work | candidate | busy processes | seconds | times itself alone | times ours |",
        "|---|---|---:|---:|---:|---:|",
    ]
    found = {
        (row["size"], row["busy"], row["candidate"]): statistics.median(row["seconds"])
        for row in report["results"]
    }
    for row in report["results"]:
        size, busy, name = row["size"], row["busy"], row["candidate"]
        middle = found[size, busy, name]
        first = POLICIES[0] if size == "training" else "ours"
        alone = found.get((size, 0, name))
        title = TITLES.get(name, name)
        work = "training step, Glyphs" if size == "training" else case_for(size).name
        out.append(
            f"| {work} | {title} | {busy} | {middle:.3f} "
            f"({min(row['seconds']):.3f} to {max(row['seconds']):.3f}) "
            f"| {'-' if alone is None else f'{middle / alone:.2f}'} "
            f"| {middle / found[size, busy, first]:.2f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", nargs="+", default=SIZES, choices=SIZES)
    add("--busy", nargs="+", type=int, default=[0, 1, 2], help="numbers of busy processes")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--repeats", type=int, default=5, help="timed calls")
    add_outputs(parser)
    add("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        request = json.loads(args.worker)
        if request["name"] == POLICIES[0]:
            from ibc_pyg.commands.options.process import limit_spinning

            limit_spinning()
        print(json.dumps(worker(request)))
        return
    report = run(args)
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

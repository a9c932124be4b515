"""Workers, merge, and heads of many classes: pictures per second, seconds of a step, memory.

    python benchmarks/scale.py --images DIR --model timm:efficientnet_lite0 --weights FILE
    python benchmarks/scale.py --classes 1000000 --json out.json --markdown out.md

Without `--images`, only heads and merge are measured. Each head trains in a process of its own,
whose peak memory is stated beside what the weights, and the optimiser's state of all classes, take
by count. A step is that of the heads alone, from embeddings of a batch to changed weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from rich.console import Console

from ibc_pyg.builders.optimization.optimizer import build_optimizer
from ibc_pyg.config import TrainConfig
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.heads import BNNeckHead
from ibc_pyg.nn.model import IntraBatchModel, ModelOutput
from ibc_pyg.nn.sampled_classes import SampledClasses
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.shards.job import Job, plan_job
from ibc_pyg.retrieval.shards.listing import find_pictures
from ibc_pyg.retrieval.shards.merge import merge_job
from ibc_pyg.retrieval.shards.part import Found, PartContent, PartHeader, write_part
from ibc_pyg.retrieval.shards.share import Share
from ibc_pyg.retrieval.shards.work import open_job_model, work_on
from ibc_pyg.retrieval.store.writer import CATALOGUE
from ibc_pyg.retrieval.update.scan import Listed

QUIET = Console(quiet=True)
WIDTH, BATCH, STEPS = 512, 128, 7
GIB = 2**30


def train_heads(heads: int, classes: int, fraction: float, optimizer: str) -> dict[str, float]:
    """Take steps with one or both heads; return seconds of a step and bytes."""
    torch.manual_seed(0)
    modules = [BNNeckHead(WIDTH, classes) for _ in range(heads)]
    model = IntraBatchModel(torch.nn.Identity(), None, modules[1:], modules[0]).train()
    sampled = SampledClasses(modules, fraction, BATCH, seed=0) if fraction < 1 else None
    loss = IntraBatchLoss(sampled=sampled)
    steps_of = build_optimizer(TrainConfig(optimizer=optimizer), model, loss)
    seconds = []
    for _ in range(STEPS):
        x = torch.randn(BATCH, WIDTH, requires_grad=True)
        labels = torch.randint(classes, (BATCH,))
        start = time.perf_counter()
        columns = None if sampled is None else sampled.draw(labels, steps_of)
        logits = [head(x) for head in modules]
        output = ModelOutput(x, [], logits[1:], logits[0], [])
        total = loss(output, labels, columns=columns).total
        steps_of.zero_grad()
        total.backward()
        steps_of.step()
        if sampled is not None:
            sampled.keep(steps_of)
        seconds.append(time.perf_counter() - start)
    weights = sum(each.nbytes for head in modules for each in head.parameters())
    if sampled is None:
        states = [value for state in steps_of.state.values() for value in state.values()]
    else:
        states = [slot for slots in sampled._slots for slot in slots.values()]
    kept = sum(each.nbytes for each in states if isinstance(each, torch.Tensor))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # The first step makes the state of the optimiser.
    return {
        "step": float(np.median(seconds[1:])),
        "weights": weights,
        "state": kept,
        "peak": peak,
        "loss": float(total.detach()),
    }


def in_child(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--case", json.dumps(arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure_heads(classes: int) -> list[dict[str, Any]]:
    few = classes // 10
    cases: list[tuple[int, int, float, str]] = [
        (1, few, 1.0, "RAdam"),
        (1, few, 0.01, "RAdam"),
        (1, classes, 0.05, "RAdam"),
        (1, classes, 0.01, "RAdam"),
        (2, classes, 0.01, "SGD"),
    ]
    rows = []
    for heads, count, fraction, optimizer in cases:
        found = in_child(heads, count, fraction, optimizer)
        rows.append(
            {"heads": heads, "classes": count, "fraction": fraction, "optimizer": optimizer} | found
        )
    return rows


def measure_merge(args: argparse.Namespace, folder: Path, shards: int) -> dict[str, float]:
    """Merge parts of random vectors, as workers would have written them."""
    rows = args.rows
    rng = np.random.default_rng(0)
    lists = [[f"{shard}/{row}.jpg" for row in range(rows // shards)] for shard in range(shards)]
    run: Path | str = Path(__file__).parents[1] / "tests" / "fixtures" / "finished_run"
    run = run if args.weights is None else args.model
    pictures = folder / "pictures"
    for shard, names in enumerate(lists):
        (pictures / f"{shard}").mkdir(parents=True)
        for name in names:
            (pictures / name).touch()
    tracemalloc.start()
    find_pictures(pictures, None, "all")
    listing = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    job = plan_job(run, pictures, folder / "job", shards, weights=args.weights)
    model = Fingerprint.from_json(job.model)
    for shard in range(shards):
        listed = job.listed(shard)
        vectors = rng.standard_normal((len(listed), model.dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        digests = [rng.bytes(32) for _ in listed]
        found = [Found(unit, Listed(*_facts(each)), unit) for unit, each in enumerate(listed)]
        header = PartHeader(job.digest, shard, job.model)
        write_part(job.part_file(shard), header, PartContent(found, digests, vectors))
    start = time.perf_counter()
    merge_job(Job.open(job.folder), folder / "index", console=QUIET)
    seconds = time.perf_counter() - start
    catalogue = (folder / "index" / CATALOGUE).stat().st_size
    return {
        "rows": rows,
        "dim": model.dim,
        "shards": shards,
        "seconds": seconds,
        "catalogue": catalogue / rows,
        "listing": listing / rows,
    }


def _facts(listed: Listed) -> tuple[str, str | None, int | None, int | None]:
    return listed.path, listed.label, listed.size, listed.mtime_ns


def measure_workers(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Embed the same pictures by one worker and by two, each with one thread."""
    rows = []
    for workers in (1, 2):
        job = plan_job(
            args.model, args.images, folder / f"job-{workers}", args.shards, weights=args.weights
        )
        command = [sys.executable, "-m", "ibc_pyg", "index", "work", str(job.folder), "--shard"]
        start = time.perf_counter()
        running = [subprocess.Popen([*command, f"{each}/{workers}"]) for each in range(workers)]
        if any(each.wait() for each in running):
            raise SystemExit("a worker failed")
        seconds = time.perf_counter() - start
        rows.append({"workers": workers, "pictures": job.pictures, "seconds": seconds})
    job = plan_job(args.model, args.images, folder / "job-0", args.shards, weights=args.weights)
    embedder = open_job_model(job)
    start = time.perf_counter()
    work_on(job, embedder, Share(), QUIET)
    seconds = time.perf_counter() - start
    return [*rows, {"workers": "1, start left out", "pictures": job.pictures, "seconds": seconds}]


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        f"`{report['command']}`; {described}; load of the machine {report['load']:.1f} at the end",
        "",
        "| heads | classes x width | share | optimiser | weights | state | peak | step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["heads"]:
        share = "all" if row["fraction"] == 1 else f"{row['fraction']:.0%}"
        lines.append(
            f"| {row['heads']} | {row['classes']:,} x {WIDTH} | {share} | {row['optimizer']} "
            f"| {row['weights'] / GIB:.2f} GiB | {row['state'] / GIB:.2f} GiB "
            f"| {row['peak'] / GIB:.2f} GiB | {row['step']:.3f} s |"
        )
    merge = report["merge"]
    lines += [
        "",
        f"Merge of {merge['rows']:,} vectors of {merge['dim']} numbers in {merge['shards']} parts: "
        f"{merge['seconds']:.1f} s, {merge['rows'] / merge['seconds']:,.0f} pictures/s, with the "
        "approximate search that a large index gets. "
        f"{merge['catalogue']:.0f} bytes of catalogue and {merge['listing']:,.0f} bytes of memory "
        "of the plan for a picture.",
    ]
    if report["workers"]:
        lines += ["", "| workers | pictures | seconds | pictures/s |"]
        lines.append("|---|---|---|---|")
        for row in report["workers"]:
            speed = row["pictures"] / row["seconds"]
            lines.append(
                f"| {row['workers']} | {row['pictures']:,} | {row['seconds']:.0f} | {speed:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=Path, help="folder of pictures for the workers")
    parser.add_argument("--model", default="timm:efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--classes", type=int, default=10**6)
    parser.add_argument("--rows", type=int, default=100_000, help="vectors of the merge")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    add_outputs(parser)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(train_heads(*json.loads(args.case))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [] if args.images is None else measure_workers(args, folder)
        report = {
            "command": shlex.join(["python", "benchmarks/scale.py", *_named(sys.argv[1:])]),
            "machine": machine(torch.device("cpu")),
            "heads": measure_heads(args.classes),
            "merge": measure_merge(args, folder, 50),
            "workers": workers,
            "load": os.getloadavg()[0],
        }
    write_outputs(args, report, markdown(report))


def _named(arguments: list[str]) -> list[str]:
    """Return the arguments without the folders of this machine."""
    return [Path(each).name if each.startswith("/") else each for each in arguments]


if __name__ == "__main__":
    main()

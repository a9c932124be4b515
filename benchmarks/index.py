"""Images per second of building an index, and seconds of bringing it up to date.

    python benchmarks/index.py --images DIR --model timm:efficientnet_lite0 --weights FILE
    python benchmarks/index.py --images DIR --model RUN_DIR --files 10000 --json out.json

A build is compared with its two parts alone: reading, hashing, decoding and scaling of the same
files, and the forward pass of as many pictures. Where both run on the same cores, the fastest
possible build takes the sum of their times; with a GPU, the longer of the two. The three alternate
in several rounds, and the best round of each counts. The seconds of processor time tell the same on
a machine with other work, where the others do not. `sync` is measured on small files: after one
each was added, changed, renamed, deleted and copied, and again without a change.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from PIL import Image

from ibc_pyg.commands.options.process import keep_freed_memory
from ibc_pyg.data.images.cpu_count import cpu_count
from ibc_pyg.inference.embedder import Embedder
from ibc_pyg.retrieval.index import Index
from ibc_pyg.retrieval.models import open_model
from ibc_pyg.retrieval.update.feed import FileRead, read_files
from ibc_pyg.retrieval.update.scan import Source, find_source, list_source
from ibc_pyg.threads import map_ahead


def decode(source: Source, embedder: Embedder, limit: int) -> None:
    def one(numbered: tuple[int, FileRead]) -> None:
        embedder._decode((numbered[0], numbered[1].content))

    read = read_files(Path(source.root), list_source(source, trust_code=False)[:limit])
    threads = cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        deque(map_ahead(pool, one, enumerate(read), 4 * threads), maxlen=0)


def forward(embedder: Embedder, pixels: list[torch.Tensor], batch_size: int) -> None:
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        embedder._forward(list(range(len(batch))), batch)


def throughput(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    embedder = open_model(args.model, weights=args.weights)
    pictures = folder / "pictures"
    files = list_source(find_source(args.images), trust_code=False)[: args.limit]
    for file in files:
        copy = pictures / file.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(args.images / file.path, copy)
    source, batch = find_source(pictures), args.batch_size
    pixels = [embedder.prepare(pictures / file.path) for file in files]

    def build() -> None:
        shutil.rmtree(folder / "index", ignore_errors=True)
        Index.build(embedder, pictures, folder / "index", batch_size=batch).close()

    ways: dict[str, Callable[[], None]] = {
        "decode": lambda: decode(source, embedder, args.limit),
        "forward": lambda: forward(embedder, pixels, batch),
        "build": build,
    }
    best = dict.fromkeys(ways, float("inf"))
    processor = dict.fromkeys(ways, float("inf"))
    for _ in range(args.rounds):
        for way, call in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            call()
            best[way] = min(best[way], time.perf_counter() - start)
            processor[way] = min(processor[way], time.process_time() - busy)
    speed = {way: len(files) / seconds for way, seconds in best.items()}
    return {
        "model": str(args.model),
        "device": str(embedder.device),
        "pictures": len(files),
        "images_per_second": speed,
        "of_the_slower_part": speed["build"] / min(speed["decode"], speed["forward"]),
        "of_the_sum": (best["decode"] + best["forward"]) / best["build"],
        "processor_seconds": processor,
        "processor_of_the_slower_part": max(processor["decode"], processor["forward"])
        / processor["build"],
    }


def small_files(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        file = folder / f"{number % 100:03d}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_small(file, rng)
        files.append(file)
    return files


def save_small(file: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)


def syncs(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    embedder = open_model(args.small_model)
    files = small_files(folder / "small", args.files)
    rng = np.random.default_rng(1)
    start, busy = time.perf_counter(), time.process_time()
    with Index.build(embedder, folder / "small", folder / "small.index") as index:
        seconds = {"build": time.perf_counter() - start}
        processor = {"build": time.process_time() - busy}
        save_small(files[0].with_name("added.png"), rng)
        save_small(files[1], rng)
        files[2].rename(files[2].with_name("renamed.png"))
        files[3].unlink()
        shutil.copy(files[4], files[4].with_name("copied.png"))
        reports = {}
        for name in ("sync after five changes", "sync again"):
            start, busy = time.perf_counter(), time.process_time()
            reports[name] = str(index.sync())
            seconds[name] = time.perf_counter() - start
            processor[name] = time.process_time() - busy
        start, busy = time.perf_counter(), time.process_time()
        index.verify()
        seconds["verify"] = time.perf_counter() - start
        processor["verify"] = time.process_time() - busy
    return {
        "files": args.files,
        "seconds": seconds,
        "processor_seconds": processor,
        "reports": reports,
    }


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    build, sync = report["results"]["build"], report["results"]["sync"]
    speed, busy = build["images_per_second"], build["processor_seconds"]
    lines = [
        f"`{report['command']}`",
        "",
        f"{described}; {report['note']}" if report["note"] else described,
        "",
        "| pictures | decode | forward | build | of the slower part | of the sum of both |",
        "|---:|---:|---:|---:|---:|---:|",
        f"| {build['pictures']:,} | {speed['decode']:.0f}/s | {speed['forward']:.0f}/s | "
        f"{speed['build']:.0f}/s | {build['of_the_slower_part']:.2f} | {build['of_the_sum']:.2f} |",
        f"| processor time | {busy['decode']:.2f} s | {busy['forward']:.2f} s | "
        f"{busy['build']:.2f} s | {build['processor_of_the_slower_part']:.2f} | "
        f"{(busy['decode'] + busy['forward']) / busy['build']:.2f} |",
        "",
        f"| {sync['files']:,} small files | seconds | processor time, s | report |",
        "|---|---:|---:|---|",
    ]
    lines += [
        f"| {name} | {seconds:.2f} | {sync['processor_seconds'][name]:.2f} | "
        f"{sync['reports'].get(name, '')} |"
        for name, seconds in sync["seconds"].items()
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="folder of photographs")
    add("--model", required=True, help="run folder or pretrained backbone")
    add("--weights", type=Path, metavar="FILE", help="weights of the backbone")
    add("--limit", type=int, default=1000, help="most photographs")
    add("--batch-size", type=int, default=64)
    add("--rounds", type=int, default=3)
    add("--files", type=int, default=10_000, help="small files for sync")
    add("--small-model", type=Path, default="tests/fixtures/finished_run", help="model for them")
    add("--note", default="", help="a note about the machine, for the table")
    add_outputs(parser)
    args = parser.parse_args()
    keep_freed_memory()
    described = machine(torch.device("cpu"))  # before a run sets its own number of threads
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "build": throughput(args, Path(folder)),
            "sync": syncs(args, Path(folder)),
        }
    report = {
        "command": "python " + shlex.join(["benchmarks/index.py", *sys.argv[1:]]),
        "machine": described,
        "note": args.note,
        "results": results,
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

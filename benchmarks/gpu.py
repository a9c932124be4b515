"""Tests and benchmarks on this machine's GPU, in one JSON and one Markdown file named after it.

    python benchmarks/gpu.py

Needs no network and takes packages as they are installed. Each part is a process of its own, so
that one that fails, aborts or takes too long leaves the others; its last lines are kept. Without a
GPU nothing is run or written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
PRECISIONS = ("32-true", "tf32", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Part:
    """A command and the files that it may write.

    Attributes:
        name: Name in the files.
        command: Words after the interpreter; `{json}` and `{markdown}` are replaced by paths.
        timeout_s: After this long it counts as failed.
    """

    name: str
    command: tuple[str, ...]
    timeout_s: float = 300


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        name: Its name.
        status: passed, failed or timed out.
        seconds: Wall-clock time.
        tail: Last lines that it printed.
        numbers: Its JSON file; None without one.
        table: Its Markdown file; empty without one.
    """

    name: str
    status: str
    seconds: float
    tail: str
    numbers: Any = None
    table: str = ""


def parts() -> list[Part]:
    """Return the suite and the benchmarks."""
    outputs = ("--json", "{json}", "--markdown", "{markdown}")

    def benchmark(name: str, file: str, *words: str) -> Part:
        return Part(name, (f"benchmarks/{file}.py", *words, *outputs))

    gpu = ("--device", "cuda")
    found = [Part("tests", ("-m", "pytest", "-m", "gpu", "tests/gpu"), 600)]
    for precision in PRECISIONS:
        for layout in ((), ("--channels-last",)):
            words = (*gpu, "--sizes", "resnet50", "--precision", precision, *layout)
            name = f"training {precision}{' channels-last' if layout else ''}"
            found.append(benchmark(name, "training", *words, "--repeats", "20"))
    for precision in ("32-true", "bf16-mixed"):
        sizes = ("--sizes", "54", "128", "512", "1024", "4096")
        layers = ("--layers", "floor", "IntraBatchConv dense", "fused GATConv", "fused GATv2Conv",
                  "fused TransformerConv")  # fmt: skip
        words = (*gpu, *sizes, *layers, "--precision", precision, "--seconds", "1")
        found.append(benchmark(f"layers {precision}", "layers", *words))
    found += [benchmark(what, "gpu_data", what) for what in ("loading", "retrieval", "k-means")]
    return found


def run_part(part: Part, folder: Path) -> Outcome:
    """Run a part in a process of its own; never raises for what the part does."""
    files = {kind: folder / f"{_slug(part.name)}.{kind}" for kind in ("json", "markdown")}
    places = {f"{{{kind}}}": str(path) for kind, path in files.items()}
    command = [places.get(word, word) for word in part.command]
    start, status = time.perf_counter(), "passed"
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=part.timeout_s,
            check=False,
        )
        printed = done.stdout
        if done.returncode:
            status = f"failed (exit status {done.returncode})"
    except subprocess.TimeoutExpired as error:
        printed, status = error.stdout or b"", f"timed out after {part.timeout_s:.0f} s"
    except OSError as error:
        printed, status = str(error).encode(), "failed"
    lines = printed.decode(errors="replace").splitlines()
    numbers, table = None, ""
    try:
        if files["json"].is_file():
            numbers = json.loads(files["json"].read_text())
        if files["markdown"].is_file():
            table = files["markdown"].read_text()
    except ValueError:
        status = "failed (its JSON file is damaged)"
    seconds = time.perf_counter() - start
    return Outcome(part.name, status, seconds, "\n".join(lines[-15:]), numbers, table)


def machine(gpu: str) -> dict[str, str]:
    """Return the name of the GPU and the versions of the packages."""
    import importlib.metadata as metadata

    versions = {"GPU": gpu, "python": sys.version.split()[0]}
    for package in ("torch", "torchvision", "torch-geometric", "faiss-gpu", "faiss-cpu"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def to_markdown(about: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """Return a table of the parts and the tables of the benchmarks."""
    lines = [", ".join(f"{name} {value}" for name, value in about.items()) + ".", ""]
    lines += ["| part | outcome | seconds |", "|---|---|---:|"]
    lines += [f"| {each.name} | {each.status} | {each.seconds:.0f} |" for each in outcomes]
    for each in outcomes:
        if each.status != "passed" or each.name == "tests":
            lines += ["", f"**{each.name}**, last lines:", ""]
            lines += [f"    {line}".rstrip() for line in each.tail.splitlines()]
        if each.table:
            lines += ["", f"**{each.name}**", "", each.table.strip()]
    return "\n".join(lines) + "\n"


def collect(gpu: str, wanted: Sequence[Part], folder: Path) -> tuple[Path, Path, bool]:
    """Run all parts and write both files after each, so that a cut leaves what was measured.

    Returns:
        The two files, and whether every part passed.
    """
    about, outcomes = machine(gpu), []
    folder.mkdir(parents=True, exist_ok=True)
    data, text = (folder / f"gpu-{_slug(gpu)}.{kind}" for kind in ("json", "md"))
    with tempfile.TemporaryDirectory() as scratch:
        for part in wanted:
            outcomes.append(run_part(part, Path(scratch)))
            print(f"{outcomes[-1].name}: {outcomes[-1].status}", flush=True)
            report = {"machine": about, "parts": [asdict(each) for each in outcomes]}
            data.write_text(json.dumps(report, indent=1) + "\n")
            text.write_text(to_markdown(about, outcomes))
    return data, text, all(each.status == "passed" for each in outcomes)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of both files")
    parser.add_argument("--only", nargs="+", metavar="PART", help="parts that begin with these")
    args = parser.parse_args(argv)
    import torch

    if not torch.cuda.is_available():
        print("torch sees no GPU; nothing was run", file=sys.stderr)
        return 2
    wanted = [part for part in parts() if not args.only or part.name.startswith(tuple(args.only))]
    data, text, passed = collect(torch.cuda.get_device_name(), wanted, args.out)
    print(f"written: {data}\nwritten: {text}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

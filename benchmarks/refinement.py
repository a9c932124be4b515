"""Time of descriptor refinement at the size of CUB, against its neighbour search.

The search finds the exact 30 nearest neighbours of every image. Refinement includes the search,
message passing in every neighbourhood, and the read-out. The network is that of
experiments/cub.yaml (512 channels, two heads) with the given numbers of steps.

    python benchmarks/refinement.py
    python benchmarks/refinement.py --samples 1000 --steps 1 --json out.json --markdown out.md
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from _output import add_outputs, write_outputs
from _timing import extra_peak_bytes, machine
from torch import Tensor, nn

from ibc_pyg.inference.refined.neighbour_groups import K1, neighbours_for
from ibc_pyg.inference.refined.refine import refined_vectors
from ibc_pyg.metrics import nearest_neighbours
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.mpn import MPN

CPU = torch.device("cpu")


def make(samples: int, dim: int, noise: float) -> Tensor:
    """Draw unit vectors around a centre per class, as many per class as CUB has."""
    draws = torch.Generator().manual_seed(0)
    classes = max(2, round(samples / 59.24))
    y = torch.randint(classes, (samples,), generator=draws)
    centres = torch.randn(classes, dim, generator=draws)
    return F.normalize(centres[y] + noise * torch.randn(samples, dim, generator=draws), dim=1)


def model_for(dim: int, steps: int, heads: int) -> IntraBatchModel:
    torch.manual_seed(0)
    mpn = MPN(dim, steps, heads=heads, check_finite=False)
    return IntraBatchModel(nn.Identity(), mpn, [], nn.Identity()).eval()


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time every call in turn, so that noise of the machine hits all; medians, in seconds."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:  # the first round warms up
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    x = make(args.samples, args.dim, args.noise)
    rows = []
    for steps in args.steps:
        model = model_for(args.dim, steps, args.heads)

        def whole(method: Any, model: IntraBatchModel = model) -> Tensor:
            return refined_vectors(model, x, neighbours_for(x, method, args.size))

        others = neighbours_for(x, "knn", args.size)

        def messages(model: IntraBatchModel = model, others: Tensor = others) -> Tensor:
            return refined_vectors(model, x, others)

        seconds = interleaved(
            {
                "search": lambda: nearest_neighbours(x, k=K1),
                "messages": messages,
                "knn": lambda whole=whole: whole("knn"),
                "k_reciprocal": lambda whole=whole: whole("k_reciprocal"),
            },
            args.repeats,
        )
        extra = extra_peak_bytes(lambda whole=whole: whole("k_reciprocal"), CPU)
        rows.append({"steps": steps, "seconds": seconds, "extra_bytes": extra})
        print(rows[-1], flush=True)
    return rows


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; {report['samples']:,} images, D = {report['dim']}, {report['heads']} heads, "
        f"{report['size']} images in a neighbourhood.",
        "",
        "| steps | neighbour search, s | message passing alone, s | knn, s | k-reciprocal, s | "
        "k-reciprocal / search | extra memory, MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["results"]:
        s = row["seconds"]
        out.append(
            f"| {row['steps']} | {s['search']:.3f} | {s['messages']:.3f} | {s['knn']:.3f} | "
            f"{s['k_reciprocal']:.3f} | {s['k_reciprocal'] / s['search']:.2f} | "
            f"{row['extra_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--samples", type=int, default=5924, help="number of images")
    add("--steps", type=int, nargs="+", default=[1, 2], help="message-passing steps")
    add("--heads", type=int, default=2, help="attention heads")
    add("--size", type=int, default=7, help="images in a neighbourhood")
    add("--dim", type=int, default=512, help="width of a descriptor")
    add("--noise", type=float, default=3.0, help="spread of a class")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--repeats", type=int, default=7)
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = {
        "command": "python " + shlex.join(["benchmarks/refinement.py", *sys.argv[1:]]),
        "machine": machine(CPU),
        "samples": args.samples,
        "dim": args.dim,
        "heads": args.heads,
        "size": args.size,
        "results": measure(args),
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

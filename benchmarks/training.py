"""A full training step against the bare backbone with cross-entropy.

    python benchmarks/training.py --threads 2 --json training.json --markdown training.md

Both alternate in one process, on the same batches: same backbone, precision and optimiser. The bare
loop has a linear classifier and nothing else. The loop's own work is everything besides forward,
backward and optimiser: progress, records, norms of gradients, statistics, sampler.
Medians. resnet50 reads synthetic JPEG files of 500 x 375 pixels.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from _output import add_outputs, write_outputs
from _timing import machine
from _training_case import CASES, make_pictures, measure

REPEATS = {"digits": 20, "glyphs": 60, "resnet50": 3}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    sizes = ["glyphs", "resnet50"]
    add("--sizes", nargs="+", choices=list(CASES), default=sizes, help="which trainings")
    add("--threads", type=int, default=1, help="CPU threads")
    add("--device", default="cpu", help="cpu or cuda")
    precisions = ["32-true", "tf32", "bf16-mixed", "16-mixed"]
    add("--precision", choices=precisions, default="32-true")
    add("--compile", action="store_true", help="with torch.compile, both")
    add("--channels-last", action="store_true", help="images and kernels channels last")
    add("--workers", type=int, help="processes that read images; default: chosen by the machine")
    add("--repeats", type=int, help="measured steps; left out: 3 of resnet50, 60 of glyphs")
    add_outputs(parser)
    return parser.parse_args(argv)


def options_of(args: argparse.Namespace) -> list[str]:
    options = {
        "--train.device": args.device,
        "--train.precision": args.precision,
        "--train.compile": str(args.compile).lower(),
        "--train.threads": str(args.threads),
        "--train.channels_last": str(args.channels_last).lower(),
        "--data.workers": "null" if args.workers is None else str(args.workers),
    }
    return [word for pair in options.items() for word in pair]


def described(row: dict[str, Any]) -> dict[str, Any]:
    """Add what the seconds mean."""
    own = row["inside"] + row["between"] + row["sampler"]
    ours = row["step"] + row["between"]
    return {
        **row,
        "bare_images_per_s": row["images"] / row["bare"],
        "images_per_s": row["images"] / ours,
        "loading_images_per_s": row["images"] / row["whole"],
        "ratio": row["bare"] / ours,
        "loading_ratio": row["bare"] / row["whole"],
        "head_share": row["head"] / row["step"],
        "own_share": own / (ours + row["sampler"]),
    }


def markdown(report: dict[str, Any]) -> str:
    settings = report["settings"]
    lines = [
        f"`{report['command']}`",
        "",
        ", ".join(f"{key} {value}" for key, value in report["machine"].items())
        + f"; {settings['precision']}{', compiled' if settings['compile'] else ''}.",
        "",
        "| training | loop | images/s | times bare |",
        "|---|---|---:|---:|",
    ]
    for row in report["results"]:
        name = f"{row['case']}, {row['images']} x {row['pixels']} px"
        lines += [
            f"| {name} | bare backbone, cross-entropy | {row['bare_images_per_s']:,.1f} | 1.00 |",
            f"| {name} | **ibc_pyg**, loading excluded | {row['images_per_s']:,.1f} "
            f"| {row['ratio']:.3f} |",
            f"| {name} | **ibc_pyg**, loading included | {row['loading_images_per_s']:,.1f} "
            f"| {row['loading_ratio']:.3f} |",
        ]
    lines += [
        "",
        "| training | step, ms | message passing, heads, loss | own work "
        "| of it in the step | between steps | sampler | steps |"
        + (" GPU busy |" if busy(report) else ""),
        "|---|---:|---:|---:|---:|---:|---:|---:|" + ("---:|" if busy(report) else ""),
    ]
    for row in report["results"]:
        lines.append(
            f"| {row['case']} | {1e3 * row['step']:,.1f} | {row['head_share']:.1%} "
            f"| {row['own_share']:.2%} | {1e3 * row['inside']:.2f} ms "
            f"| {1e3 * row['between']:.2f} ms | {1e3 * row['sampler']:.3f} ms | {row['repeats']} |"
            + (f" {row['utilisation'] or 0:.0f} % |" if busy(report) else "")
        )
    return "\n".join(lines) + "\n"


def busy(report: dict[str, Any]) -> bool:
    return any(row["utilisation"] is not None for row in report["results"])


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    results = []
    with tempfile.TemporaryDirectory() as place:
        if "resnet50" in args.sizes:
            make_pictures(Path(place))
        for case in args.sizes:
            repeats = args.repeats or REPEATS[case]
            results.append(described(measure(case, Path(place), options_of(args), repeats)))
    report = {
        "command": "python " + shlex.join(["benchmarks/training.py", *sys.argv[1:]]),
        "machine": machine(torch.device(args.device)),
        "settings": {"precision": args.precision, "compile": args.compile},
        "results": results,
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

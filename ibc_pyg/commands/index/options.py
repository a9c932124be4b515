"""Options and output that the actions of `index` and the command `search` share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.trust import add_trust_code

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.retrieval.index import Index

ANN_KINDS = ("auto", "exact", "ivf", "hnsw")
RECALL = 0.95
PARTS = ("all", "train", "test", "query", "gallery")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare `--model`, `--weights` and `--trust-code`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="run folder or pretrained backbone, if it was moved after the build",
    )
    add_weights(parser)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Declare `--weights` and `--trust-code`."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of a pretrained backbone, .safetensors or .pth (default: downloaded once)",
    )
    add_trust_code(parser, "the run")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Declare `--root`, `--part` and `--batch-size`."""
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="folder of a data set that is given by its name"
    )
    parser.add_argument(
        "--part", choices=PARTS, default="all", help="images of a CSV file or data set"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="pictures in a forward pass"
    )


def add_ann(parser: argparse.ArgumentParser) -> None:
    """Declare `--ann` and `--recall`."""
    parser.add_argument(
        "--ann",
        choices=ANN_KINDS,
        help="search exactly, or approximately by inverted lists or a graph; auto is exact below "
        "a measured size and ivf above it",
    )
    parser.add_argument(
        "--recall",
        type=float,
        metavar="R",
        help=f"target recall@10 of an approximate search (default: {RECALL})",
    )


def wanted_recall(arguments: argparse.Namespace) -> float:
    """Return `--recall`, or its default."""
    return RECALL if arguments.recall is None else arguments.recall


def open_index(arguments: argparse.Namespace) -> Index:
    """Open the index that the arguments name."""
    from ibc_pyg.retrieval.index import Index

    check_weights(arguments)
    return Index.open(
        arguments.index,
        arguments.model,
        weights=arguments.weights,
        trust_code=arguments.trust_code,
    )


def check_weights(arguments: argparse.Namespace) -> None:
    """Refuse `--weights` without the `--model` that they are of."""
    from ibc_pyg.errors import UserError

    if arguments.weights is not None and arguments.model is None:
        raise UserError("--weights goes with --model; give both")


def refuse_parameters(given: Mapping[str, object], what: str) -> None:
    """Refuse parameters of refinement that have no effect."""
    from ibc_pyg.errors import UserError

    for name, value in given.items():
        if value is not None:
            raise UserError(f"--refine-{name} has no effect on {what}; omit it")


def check_batch_size(arguments: argparse.Namespace) -> None:
    """Check `--batch-size` before any work."""
    from ibc_pyg.errors import UserError

    if arguments.batch_size < 1:
        raise UserError(f"--batch-size must be >= 1, not {arguments.batch_size}")


def print_report(index: Index, out: Console) -> None:
    """Print what was done, and some of the files that were skipped."""
    from ibc_pyg.console import info

    info(out, f"{index.path}: {index.report}")
    if index.report.skipped:
        skipped = index.skipped
        for each in skipped[:5]:
            info(out, f"skipped {each.path}: {each.reason}")
        if len(skipped) > 5:
            info(out, f"and {len(skipped) - 5:,} more; all: index info {index.path} --skipped")

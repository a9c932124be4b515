"""Actions that read an index: info, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    info = actions.add_parser("info", help="print what is in an index", allow_abbrev=False)
    info.add_argument("index", type=Path, metavar="INDEX")
    info.add_argument("--skipped", action="store_true", help="list all skipped files")
    info.set_defaults(act=_info)

    export = actions.add_parser(
        "export", help="write vectors and names for other programs", allow_abbrev=False
    )
    export.add_argument("index", type=Path, metavar="INDEX")
    export.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".parquet, or .npy with a .csv"
    )
    export.set_defaults(act=_export)


def _info(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    out = console()
    with Index.open(arguments.index) as index:
        counts = index.counts()
        info(out, f"model: {index.fingerprint}")
        for source in index.sources:
            info(out, f"source: {source}")
        info(
            out,
            f"{counts['pictures']:,} pictures in {counts['names']:,} files, {index.dim}-d; "
            f"{counts['removed']:,} files removed, {counts['skipped']:,} skipped",
        )
        info(out, f"search: {index.ann or 'exact'}")
        if index.refined is not None:
            record, current = index.refined
            state = "" if current else f", stale; make them again: index refine {index.path}"
            info(out, f"refined vectors: {record}{state}")
        if unused := counts["vectors"] - counts["pictures"]:
            info(out, f"{unused:,} vectors are not used any more: index compact {index.path}")
        if not index.complete:
            info(out, f"the last build or sync was interrupted: index sync {index.path}")
        if arguments.skipped:
            for each in index.skipped:
                info(out, f"skipped {each.path}: {each.reason}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.export import check_format, names_file
    from ibc_pyg.retrieval.index import Index

    check_format(arguments.out)
    names = names_file(arguments.out)
    check_outputs([arguments.out, names], indexes=[arguments.index])
    with Index.open(arguments.index) as index:
        number = index.export(arguments.out)
    beside = "" if names is None else f" and {names}"
    info(console(), f"{number:,} files; written: {arguments.out}{beside}")
    return 0

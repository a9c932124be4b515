"""Actions that read an index: info, export, push."""

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

    push = actions.add_parser(
        "push", help="upload an index into a collection of Qdrant", allow_abbrev=False
    )
    push.add_argument("index", type=Path, metavar="INDEX")
    push.add_argument(
        "--qdrant",
        required=True,
        metavar="URL",
        help="server, such as http://localhost:6333; its key is read from QDRANT_API_KEY",
    )
    push.add_argument("--collection", required=True, metavar="NAME")
    push.add_argument(
        "--prune", action="store_true", help="remove points that are not in the index"
    )
    push.set_defaults(act=_push)


def _info(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.retrieval.index import Index

    out, command = console(), f"{program()} index"
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
            state = "" if current else f", stale; make them again: {command} refine {index.path}"
            info(out, f"refined vectors: {record}{state}")
        if unused := counts["vectors"] - counts["pictures"]:
            info(
                out,
                f"{unused:,} vectors are not used any more: {command} compact {index.path}",
            )
        if not index.complete:
            info(out, f"the last build or sync was interrupted: {command} sync {index.path}")
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


def _push(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.retrieval.index import Index
    from ibc_pyg.retrieval.qdrant.client import connected
    from ibc_pyg.retrieval.qdrant.push import push

    out, name = console(), arguments.collection
    with Index.open(arguments.index) as index, connected(arguments.qdrant) as client:
        report = push(index, client, name, prune=arguments.prune, console=out)
    info(out, f"{name}: {report.uploaded:,} points sent, {report.kept:,} were there")
    if report.others:
        done = "removed" if arguments.prune else "left; remove them: --prune"
        info(out, f"{report.others:,} points are not in {arguments.index}: {done}")
    info(
        out,
        f"search: {program()} search --qdrant {arguments.qdrant} --collection {name} PICTURE",
    )
    return 0

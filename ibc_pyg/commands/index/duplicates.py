"""Action that finds duplicates and leaks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_SHOWN = 10


def add_actions(actions: Any) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "duplicates",
        help="find files that show the same picture; nothing is deleted",
        allow_abbrev=False,
    )
    parser.add_argument("index", type=Path, metavar="INDEX")
    parser.add_argument(
        "--against", type=Path, metavar="OTHER", help="find pictures of INDEX in another index"
    )
    parser.add_argument("--threshold", type=float, metavar="T", help="least similarity of a copy")
    parser.add_argument(
        "--no-mirrored", action="store_true", help="do not count mirrored pictures as copies"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="page to choose a threshold by")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the groups")
    parser.set_defaults(act=_duplicates)


def _duplicates(arguments: argparse.Namespace) -> int:
    from ibc_pyg.collections.duplicates.find import find_duplicates
    from ibc_pyg.collections.duplicates.page import write_duplicates_page
    from ibc_pyg.collections.duplicates.result import Settings
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.files import write_json
    from ibc_pyg.retrieval.index import Index

    settings = Settings(mirrored=not arguments.no_mirrored)
    if arguments.threshold is not None:
        settings = Settings(arguments.threshold, settings.mirrored)
    indexes = [arguments.index, *([arguments.against] if arguments.against else [])]
    check_outputs([arguments.html, arguments.json], indexes=indexes)
    out = console()
    with Index.open(arguments.index) as index:
        if arguments.against is None:
            found = find_duplicates(index, settings=settings, progress=out)
        else:
            with Index.open(arguments.against) as other:
                found = find_duplicates(index, other, settings, progress=out)
    print_groups(found, out)
    if arguments.json:
        write_json(arguments.json, found.to_json())
        info(out, f"written: {arguments.json}")
    if arguments.html:
        title = str(arguments.index)
        if arguments.against:
            title = f"{arguments.index} in {arguments.against}"
        write_duplicates_page(arguments.html, found, title)
        info(out, f"written: {arguments.html}")
    return 0


def print_groups(found: Any, out: Any) -> None:
    """Print a summary and the first groups."""
    from ibc_pyg.console import info

    for group in found.groups[:_SHOWN]:
        kind = "same content" if group.exact else f"{group.similarity:.3f}"
        info(out, f"{kind}: {' = '.join(group.paths)}; keep {group.best}")
    if len(found.groups) > _SHOWN:
        info(out, f"and {len(found.groups) - _SHOWN:,} more groups")
    files = sum(len(group.paths) for group in found.groups)
    number = len(found.groups)
    groups = "group" if number == 1 else "groups"
    info(out, f"{number:,} {groups} of {files:,} files among {found.files:,}")
    if found.unread:
        info(
            out,
            f"{len(found.unread):,} pictures could not be read and were compared by content "
            f"alone, such as {found.unread[0]}",
        )

"""Actions that embed pictures: build, sync, add; and remove."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ibc_pyg.commands.index.options import (
    add_ann,
    add_model,
    add_pictures,
    add_weights,
    check_batch_size,
    open_index,
    print_report,
    wanted_recall,
)
from ibc_pyg.commands.options.process import keep_freed_memory

Actions = Any  # argparse does not export the type


def add_actions(actions: Actions) -> None:
    """Declare the actions."""
    build = actions.add_parser("build", help="embed pictures into a new index", allow_abbrev=False)
    build.add_argument(
        "model", metavar="MODEL", help="run folder, timm:NAME, or a network of torchvision"
    )
    build.add_argument(
        "images",
        metavar="IMAGES",
        help="folder, CSV file, or a data set: its name, or FILE.py:NAME, which is executed",
    )
    build.add_argument("--out", type=Path, required=True, metavar="INDEX", help="its folder")
    add_pictures(build)
    add_weights(build)
    add_ann(build)
    build.set_defaults(act=_build)

    sync = actions.add_parser(
        "sync", help="apply new, changed, renamed and deleted pictures", allow_abbrev=False
    )
    sync.add_argument("index", type=Path, metavar="INDEX")
    sync.add_argument(
        "images", nargs="?", metavar="IMAGES", help="one source of the index (default: all)"
    )
    sync.add_argument(
        "--reembed", action="store_true", help="embed all pictures again, with another model"
    )
    add_pictures(sync)
    add_model(sync)
    sync.set_defaults(act=_sync)

    add = actions.add_parser("add", help="add files, folders or data sets", allow_abbrev=False)
    add.add_argument("index", type=Path, metavar="INDEX")
    add.add_argument("images", nargs="+", metavar="IMAGES", help="picture, folder or CSV file")
    add.add_argument("--label", help="class of single files outside the folders of the index")
    add_pictures(add)
    add_model(add)
    add.set_defaults(act=_add)

    remove = actions.add_parser(
        "remove", help="remove pictures from the index; files stay", allow_abbrev=False
    )
    remove.add_argument("index", type=Path, metavar="INDEX")
    remove.add_argument("paths", nargs="*", metavar="PATH", help="files, or whole folders")
    remove.add_argument("--label", action="append", default=[], help="all pictures of a class")
    remove.add_argument("--row", action="append", default=[], type=int, help="row of a vector")
    remove.set_defaults(act=_remove)


def _build(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.retrieval.index import Index

    check_batch_size(arguments)
    keep_freed_memory()
    out = console()
    with Index.build(
        arguments.model,
        arguments.images,
        arguments.out,
        root=arguments.root,
        part=arguments.part,
        weights=arguments.weights,
        trust_code=arguments.trust_code,
        batch_size=arguments.batch_size,
        ann=arguments.ann or "auto",
        recall=wanted_recall(arguments),
        progress=out,
    ) as index:
        print_report(index, out)
        info(out, f"{len(index):,} pictures; search: {program()} search {index.path} PICTURE")
    return 0


def _sync(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console

    check_batch_size(arguments)
    keep_freed_memory()
    out = console()
    with open_index(arguments) as index:
        if arguments.model is not None and not arguments.reembed:
            index.model()  # another model is refused even if there is nothing to embed
        index.sync(
            arguments.images,
            root=arguments.root,
            part=arguments.part,
            reembed=arguments.reembed,
            batch_size=arguments.batch_size,
            progress=out,
        )
        print_report(index, out)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console

    check_batch_size(arguments)
    keep_freed_memory()
    out = console()
    with open_index(arguments) as index:
        index.add(
            arguments.images,
            label=arguments.label,
            root=arguments.root,
            part=arguments.part,
            batch_size=arguments.batch_size,
            progress=out,
        )
        print_report(index, out)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import UserError
    from ibc_pyg.retrieval.index import Index

    if not (arguments.paths or arguments.label or arguments.row):
        raise UserError("name what to remove: PATH, --label or --row")
    with Index.open(arguments.index) as index:
        number = index.remove(arguments.paths, label=arguments.label, row=arguments.row)
        info(console(), f"removed {number:,} files; {len(index):,} pictures are left")
    return 0

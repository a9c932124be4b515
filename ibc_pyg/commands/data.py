"""`ibc-pyg data`: list, verify and download data sets, and write small samples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.numbers import whole

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.config import DataConfig
    from ibc_pyg.console import Progress
    from ibc_pyg.data.table import ImageTable

NAME = "data"
HELP = "list, verify or download data sets, or write small samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list all data sets")
    verify = actions.add_parser(
        "verify",
        help="decode every image and report problems",
        epilog="Fields of `data` are taken as by train, such as --data.options.layout parts.",
    )
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("--root", type=Path, metavar="DIR", help="its folder")
    verify.add_argument("--allow-partial", action="store_true", help="allow missing images")
    verify.add_argument(
        "--leaks",
        action="store_true",
        help="also find test images that are copies of training ones",
    )
    verify.set_defaults(takes_fields=True)
    download = actions.add_parser("download", help="download a data set, or print instructions")
    download.add_argument("name", metavar="NAME")
    download.add_argument("--root", type=Path, metavar="DIR", required=True, help="destination")
    sample = actions.add_parser("make-sample", help="write a small synthetic data set")
    sample.add_argument("name", metavar="NAME")
    sample.add_argument("--out", type=Path, metavar="DIR", required=True, help="an empty folder")
    sample.add_argument(
        "--classes", type=whole(2, 40), default=4, help="training classes, and test classes"
    )
    sample.add_argument("--images", type=whole(2, 100), default=6, help="images per class")
    sample.add_argument("--seed", type=whole(0, 2**32 - 1), default=0, help="seed of the drawings")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    if arguments.action == "verify":
        return _verify(arguments, rest)
    return {"list": _list, "download": _download, "make-sample": _sample}[arguments.action](
        arguments
    )


def _list(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import table
    from ibc_pyg.data.registry import DATASETS

    rows = [{"name": info.name, "description": info.description} for info in DATASETS.values()]
    table(rows, console=console())
    return 0


def _verify(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import Progress, info
    from ibc_pyg.data.registry import load_table
    from ibc_pyg.data.verify import verify

    out = console()
    data = _data_config(fields)
    images = load_table(
        arguments.name,
        arguments.root or data.root,
        allow_partial=arguments.allow_partial or data.allow_partial,
        **data.options,
    )
    with Progress(len(images), "verify", console=out) as bar:
        report = verify(images, progress=lambda done, total: bar.update(done))
    for line in report.lines():
        info(out, line)
    leaks = _leaks(images, out) if arguments.leaks else 0
    return 0 if report.ok and not leaks else 1


def _leaks(images: ImageTable, out: Console) -> int:
    """Print the groups of copies in training and test; return their number."""
    from ibc_pyg.collections.duplicates.leaks import find_leaks
    from ibc_pyg.commands.index.duplicates import print_groups
    from ibc_pyg.console import Progress, info

    with Progress(len(images), "leaks", console=out) as bar:
        found = find_leaks(images, done=bar.update)
    info(out, "copies of training images in test:")
    print_groups(found, out)
    return len(found.groups)


def _data_config(fields: Sequence[str]) -> DataConfig:
    from ibc_pyg.config import DataConfig
    from ibc_pyg.config.files.yaml_file import parse_config
    from ibc_pyg.errors import UserError, program

    for field in fields:
        if field.startswith("--") and not field.startswith("--data."):
            raise UserError(f"unknown argument {field}; see `{program()} data verify --help`")
    return parse_config(None, fields).data if fields else DataConfig()


def _download(arguments: argparse.Namespace) -> int:
    from contextlib import ExitStack

    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import Progress, info
    from ibc_pyg.data.fetching.download import download

    out = console()
    bars: dict[str, Progress] = {}
    with ExitStack() as stack:

        def show(label: str, done: int, total: int | None) -> None:
            if total is None:
                return
            if label not in bars:
                bars[label] = stack.enter_context(Progress(total, label, console=out))
            bars[label].update(done)

        report = download(arguments.name, arguments.root, progress=show)
    for line in report.lines():
        info(out, line)
    return 0 if report.complete else 1


def _sample(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.data.sample import make_sample

    folder = make_sample(
        arguments.name,
        arguments.out,
        classes=arguments.classes,
        images=arguments.images,
        seed=arguments.seed,
    )
    info(console(), f"written: {folder}")
    return 0

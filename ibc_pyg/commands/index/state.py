"""Actions on the state of an index: calibrate, compact, rebuild, refine, relocate, verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ibc_pyg.commands.index.options import add_ann, add_model, open_index, refuse_parameters
from ibc_pyg.commands.options.refine import add_refine_parameters, refine_parameters


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    calibrate = actions.add_parser(
        "calibrate", help="find similarity thresholds from the classes", allow_abbrev=False
    )
    calibrate.add_argument("index", type=Path, metavar="INDEX")
    calibrate.add_argument(
        "--seed", type=int, default=0, help="seed of the pictures drawn from a large index"
    )
    add_model(calibrate)
    calibrate.set_defaults(act=_calibrate)

    compact = actions.add_parser(
        "compact", help="free the disk space of removed pictures", allow_abbrev=False
    )
    compact.add_argument("index", type=Path, metavar="INDEX")
    compact.set_defaults(act=_compact)

    rebuild = actions.add_parser(
        "rebuild", help="rebuild the approximate search, or build another kind", allow_abbrev=False
    )
    rebuild.add_argument("index", type=Path, metavar="INDEX")
    add_ann(rebuild)
    rebuild.set_defaults(act=_rebuild)

    refine = actions.add_parser(
        "refine", help="store refined vectors for `search --refine`", allow_abbrev=False
    )
    refine.add_argument("index", type=Path, metavar="INDEX")
    refine.add_argument(
        "--method",
        "--refine",
        default="dba",
        metavar="METHOD",
        help="dba, diffusion, refiner (the trained one of the model), or none to delete what is "
        "stored (default: dba)",
    )
    add_refine_parameters(refine)
    add_model(refine)
    refine.set_defaults(act=_refine)

    relocate = actions.add_parser(
        "relocate", help="tell the index that its pictures were moved", allow_abbrev=False
    )
    relocate.add_argument("index", type=Path, metavar="INDEX")
    relocate.add_argument("folder", type=Path, metavar="FOLDER", help="where the pictures are now")
    relocate.add_argument(
        "--from",
        dest="old",
        type=Path,
        metavar="FOLDER",
        help="where they were (needed if the index has several sources)",
    )
    relocate.set_defaults(act=_relocate)

    verify = actions.add_parser(
        "verify", help="check catalogue and vectors for damage", allow_abbrev=False
    )
    verify.add_argument("index", type=Path, metavar="INDEX")
    verify.set_defaults(act=_verify)


def _calibrate(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info, table
    from ibc_pyg.errors import UserError

    if arguments.seed < 0:
        raise UserError(f"--seed must be >= 0, not {arguments.seed}")
    out = console()
    with open_index(arguments) as index:
        found = index.calibrate(seed=arguments.seed)
    info(out, str(found))
    table(
        [
            {
                "false accepts": f"{each.false_accepts:g}",
                "similarity": each.similarity,
                "true accepts": each.true_accepts,
            }
            for each in found.rates.thresholds
        ],
        console=out,
    )
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    with Index.open(arguments.index) as index:
        number = index.compact(progress=console())
        info(console(), f"{number:,} vectors given back; {len(index):,} are left")
    return 0


def _rebuild(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    out = console()
    with Index.open(arguments.index) as index:
        if index.rebuild(arguments.ann, arguments.recall, progress=out) is None:
            info(out, f"{index.path} is searched exactly: {len(index):,} pictures")
    return 0


def _refine(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program
    from ibc_pyg.refinement import parameters_of
    from ibc_pyg.retrieval.refined.record import REFINER, STORED

    method, out = arguments.method, console()
    given = refine_parameters(arguments)
    if method in ("none", REFINER):
        refuse_parameters(given, method)
    own = method in STORED and method != REFINER
    parameters = parameters_of(method, **given) if own else None
    with open_index(arguments) as index:
        record = index.refine(method, parameters, progress=out)
        if record is None:
            info(out, f"{index.path} has no refined vectors")
            return 0
        info(
            out,
            f"{len(index):,} pictures refined by {record}; search: {program()} search "
            f"{index.path} PICTURE --refine {record.method}",
        )
    return 0


def _relocate(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    with Index.open(arguments.index) as index:
        before, after = index.relocate(arguments.folder, arguments.old)
        info(console(), f"{before} is now {after}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    out = console()
    with Index.open(arguments.index) as index:
        problems = index.verify()
        for problem in problems[:20]:
            info(out, problem)
        if len(problems) > 20:
            info(out, f"and {len(problems) - 20:,} more")
        if problems:
            info(out, "restore the folder from a copy, or build the index again")
            return 1
        info(out, f"{index.path} is clean: {len(index):,} pictures")
    return 0

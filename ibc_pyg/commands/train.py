"""Train an experiment, evaluate it on unseen classes, and write its report.

Any field of the experiment can be overridden: --model.heads 4 --train.lr 1e-3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.process import keep_freed_memory
from ibc_pyg.commands.options.trust import add_trust_code, check_named, named_code

if TYPE_CHECKING:
    from ibc_pyg.config import Config

NAME = "train"
HELP = "train an experiment file, any field overridden as --part.field value"


class _FieldsHelp(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        parser.print_help()
        sys.stdout.write(f"\nfields of the experiment:\n{_fields_help()}")
        parser.exit()


def _fields_help() -> str:
    from ibc_pyg.config.files.yaml_file import config_parser

    return config_parser("fields").format_help().partition("options:\n")[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "experiment",
        nargs="*",
        type=Path,
        help="experiment: a YAML file, or the name of a shipped one; and overlays on it",
    )
    parser.add_argument("--out", type=Path, help="run folder (default: runs/NAME-TIME)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="one step and some test images, on a synthetic sample if the data set is missing",
    )
    parser.add_argument("--resume", type=Path, metavar="RUN_DIR", help="resume an interrupted run")
    parser.add_argument(
        "--extend",
        type=int,
        metavar="EPOCHS",
        help="train a finished run for more epochs, in a new folder: --extend EPOCHS RUN_DIR",
    )
    parser.add_argument(
        "--help-fields", nargs=0, action=_FieldsHelp, help="list every field of an experiment"
    )
    add_trust_code(parser, "an experiment file, the resumed run or a teacher")
    parser.set_defaults(takes_fields=True, takes_processes=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    keep_freed_memory()
    from ibc_pyg.commands.options.common import console, default_out, finish
    from ibc_pyg.config.files.overlays import parse_overlays
    from ibc_pyg.errors import ConfigError, program

    if any(word.partition("=")[0].endswith(".help") for word in fields):
        sys.stdout.write(_fields_help())
        return 0
    files: list[Path] = arguments.experiment
    resumed: Path | None = arguments.resume
    trust: bool = arguments.trust_code
    if resumed is not None:
        if arguments.dry_run:
            raise ConfigError("--dry-run cannot be combined with --resume")
        if arguments.extend is not None:
            raise ConfigError("--extend makes a new run of a finished one; remove --resume")
        if arguments.out is not None:
            raise ConfigError("--resume continues in the folder of the run; remove --out")
        wanted = _wanted(files, resumed, fields)
        known = named_code([] if wanted is None else [wanted], fields)
        from ibc_pyg.training.run import resume

        return finish(
            lambda: resume(resumed, console(), wanted, trust_code=trust, known_code=known),
            console(),
        )
    if arguments.extend is not None:
        return _extend(arguments, fields)
    if not files:
        raise ConfigError(
            f"train needs an experiment file or name, such as glyphs; see `{program()} experiments`"
        )
    # Errors in the file are reported before torch is imported.
    config = parse_overlays(files, fields)
    check_named([config], fields, trust=trust)
    if arguments.dry_run:
        from ibc_pyg.console import info
        from ibc_pyg.training.dry_run import dry_run

        out = console()
        info(out, str(dry_run(config, out, trust_code=trust)))
        return 0
    from ibc_pyg.training.run import train

    folder = arguments.out or default_out("-".join(file.stem for file in files))
    return finish(lambda: train(config, folder, console(), trust_code=trust), console())


def _extend(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    from ibc_pyg.commands.options.common import console, finish
    from ibc_pyg.errors import ConfigError
    from ibc_pyg.training.extend import extend

    if len(arguments.experiment) != 1 or arguments.dry_run or fields:
        raise ConfigError("--extend takes one finished run and no fields: --extend EPOCHS RUN_DIR")
    (folder,), epochs = arguments.experiment, arguments.extend
    out = arguments.out or folder.with_name(f"{folder.resolve().name}-extended-{epochs}")
    trust: bool = arguments.trust_code
    return finish(lambda: extend(folder, epochs, out, console(), trust_code=trust), console())


def _wanted(files: list[Path], folder: Path, fields: Sequence[str]) -> Config | None:
    """Return the experiment that the run should be: the given one, or its own with other fields."""
    from ibc_pyg.config.files.overlays import parse_overlays

    own = folder / "config.yaml"
    if not files and (not fields or not own.is_file()):
        return None
    return parse_overlays(files or [own], fields)

"""Train an experiment, evaluate it on unseen classes, and write its report.

Any field of the experiment can be changed: --model.heads 4 --train.lr 1e-3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

NAME = "train"
HELP = "train an experiment file, any field overridden as --part.field value"


class _FieldsHelp(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        from ibc_pyg.config_file import config_parser

        parser.print_help()
        fields = config_parser("fields").format_help()
        parser.exit(message="\nfields of the experiment:\n" + fields.partition("options:\n")[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("experiment", nargs="?", type=Path, help="experiment file, YAML")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/NAME-TIME)")
    parser.add_argument("--resume", type=Path, metavar="RUN_DIR", help="go on with a cut run")
    parser.add_argument(
        "--help-fields", nargs=0, action=_FieldsHelp, help="list every field of an experiment"
    )
    parser.set_defaults(takes_fields=True)


def run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.errors import ConfigError

    if arguments.resume is not None:
        if arguments.experiment is not None or arguments.out is not None or fields:
            raise ConfigError("--resume takes the run folder alone: its config.yaml says the rest")
    elif arguments.experiment is None:
        raise ConfigError("train needs an experiment file, such as experiments/glyphs.yaml")

    from ibc_pyg.commands.common import console, default_out, finish
    from ibc_pyg.config_file import parse_config

    out = console()
    if arguments.resume is not None:
        from ibc_pyg.engine.train import resume

        return finish(lambda: resume(arguments.resume, out), out)
    config = parse_config(arguments.experiment, fields)
    from ibc_pyg.engine.train import train

    folder = arguments.out or default_out(arguments.experiment.stem)
    return finish(lambda: train(config, folder, out), out)

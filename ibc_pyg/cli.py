"""The command line: `python run.py COMMAND`, or `ibc-pyg COMMAND` once installed."""

from __future__ import annotations

import argparse
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ibc_pyg import __version__
from ibc_pyg.commands import COMMANDS
from ibc_pyg.commands.options.process import limit_spinning
from ibc_pyg.errors import UserError, exhausted, printable, program
from ibc_pyg.parallel.launch import Launch
from ibc_pyg.plain_text import log_lines
from ibc_pyg.plugins import blamed

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
DEBUG = "--debug"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands, without heavy imports."""
    parser = _Parser(
        prog=program().removeprefix("python "),
        description="Train image embeddings for retrieval and clustering of unseen classes, with "
        "message passing between the images of a mini-batch.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    _add_debug(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=(command.__doc__ or "").replace("python run.py", program()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        _add_debug(sub)
        sub.set_defaults(run=command.run)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    """Declare `--debug`, before or after the command; `run` reads it."""
    parser.add_argument(
        DEBUG,
        action="store_true",
        help="also print the traceback of an error",
    )


def _split_fields(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate fields of the configuration, `--part.field value`, from the other arguments.

    argparse would treat the value of an unknown option as a positional argument.
    """
    words: list[str] = []
    fields: list[str] = []
    rest = iter(arguments)
    for word in rest:
        option, equals, _ = word.partition("=")
        if not re.fullmatch(r"--(select|retrain|[a-z]+(\.\w+)+\+?)", option):
            words.append(word)
            continue
        fields.append(word)
        if not equals:
            fields += [value for value in [next(rest, None)] if value is not None]
    return words, fields


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    That is 0; 2 for invalid input, or code of the user that fails; 130 for Ctrl-C.
    """
    _escape_output()
    launch = Launch.from_environment()
    # Only the main process logs.
    level = logging.WARNING if launch.rank == 0 else logging.CRITICAL
    log_lines(level)
    try:
        _check_working_folder()
        words, fields = _split_fields(arguments)
        parser = make_parser()
        parsed, rest = parser.parse_known_args(words)
        rest = [*fields, *rest]
        if rest and not getattr(parsed, "takes_fields", False):
            raise UserError(
                f"unknown argument {rest[0]}; see `{parser.prog} {parsed.command} --help`"
            )
        if launch.world_size > 1 and not getattr(parsed, "takes_processes", False):
            raise UserError(
                f"{parsed.command} runs in one process: start it without torchrun; only train "
                "and index work support several"
            )
        code = int(parsed.run(parsed, rest) or 0)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except UserError as error:
        return _failed(launch, error, str(error), debug=DEBUG in arguments)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        if launch.rank == 0:
            sys.stderr.write("stopped\n")
        return EXIT_INTERRUPTED
    except Exception as error:
        problem = exhausted(error)
        if problem is None and (place := blamed(error)) is not None:
            problem = f"{place}: {type(error).__name__}: {error}"
        if problem is None:
            raise
        return _failed(launch, error, problem, debug=DEBUG in arguments)


def _failed(launch: Launch, error: Exception, problem: str, *, debug: bool) -> int:
    """Print an error on one line, with `debug` after its traceback."""
    if launch.should_report_error():
        if debug:
            traceback.print_exception(error)
        sys.stderr.write(f"error: {printable(' '.join(problem.split()))}\n")
    return EXIT_USER_ERROR


def main() -> NoReturn:
    """Run the command in `sys.argv`."""
    limit_spinning()
    try:
        sys.exit(run(sys.argv[1:]))
    finally:
        _close_output()


def _check_working_folder() -> None:
    """Raise UserError if another process has removed it; some libraries cannot be imported then."""
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the working folder no longer exists; change to another one") from error


def _escape_output() -> None:
    """Escape characters that the encoding of the output lacks, instead of raising."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _close_output() -> None:
    """Drop output that cannot be written; Python would print a traceback at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Export the embedding network of a run to an ONNX file, for programs without torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ibc_pyg.commands.options.trust import add_trust_code

NAME = "export"
HELP = "export the embedding network of a run to ONNX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN_DIR/model.onnx")
    add_trust_code(parser, "the run")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.export.onnx import export_onnx
    from ibc_pyg.inference.trained import load_run

    trained = load_run(arguments.run_dir, trust_code=arguments.trust_code)
    path = arguments.out or arguments.run_dir / "model.onnx"
    check_outputs([path], runs=[arguments.run_dir])
    info(console(), f"written: {export_onnx(trained, path)}")
    return 0

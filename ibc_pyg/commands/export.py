"""Export the embedding network of a run: a folder to publish, ONNX, torch.export or timm."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibc_pyg.commands.options.trust import add_trust_code

if TYPE_CHECKING:
    from ibc_pyg.export.card import CardExtras
    from ibc_pyg.inference.trained import Trained

NAME = "export"
HELP = "export the embedding network of a run: a folder to publish, ONNX, torch or timm"

_DEFAULT = {"onnx": "model.onnx", "torch": "model.pt2", "hub": "published", "timm": "timm"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument(
        "--format",
        choices=("hub", "onnx", "torch", "timm"),
        default="onnx",
        help="hub: a folder to publish; torch: a program of torch.export (default: onnx)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="default: RUN_DIR/model.onnx, or model.pt2, published or timm there",
    )
    parser.add_argument(
        "--int8",
        choices=("dynamic", "static"),
        help="with hub: also an 8-bit ONNX network, scored beside float32 on the test pictures",
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        help="with hub: licence of the weights for the card, such as mit (default: unknown)",
    )
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="with hub: also upload the folder to the hub"
    )
    add_trust_code(parser, "the run")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.errors import UserError
    from ibc_pyg.inference.trained import load_run

    kind = arguments.format
    for option in ("int8", "push", "license"):
        if getattr(arguments, option) and kind != "hub":
            raise UserError(f"--{option} goes with --format hub")
    trained = load_run(arguments.run_dir, trust_code=arguments.trust_code)
    path = arguments.out or arguments.run_dir / _DEFAULT[kind]
    if kind in ("onnx", "torch"):
        check_outputs([path], runs=[arguments.run_dir])
        lines = [_file(trained, path, kind)]
    else:
        lines = _folder(trained, path, arguments)
    for line in lines:
        info(console(), line)
    return 0


def _file(trained: Trained, path: Path, kind: str) -> str:
    from ibc_pyg.export.onnx import export_onnx
    from ibc_pyg.export.torch_program import export_torch

    worst = export_onnx(trained, path) if kind == "onnx" else export_torch(trained, path)
    if worst is None:
        return f"written: {path} (not compared: pip install onnxruntime)"
    return f"written: {path} (largest difference to the run: {worst:.2g})"


def _folder(trained: Trained, path: Path, arguments: argparse.Namespace) -> list[str]:
    from ibc_pyg.export.hub import publish, push_to_hub
    from ibc_pyg.export.swap import new_folder
    from ibc_pyg.export.timm_folder import export_timm, is_timm_folder

    if arguments.format == "timm":
        with new_folder(path, is_own=is_timm_folder) as draft:
            export_timm(trained, draft)
        return [f"written: {path}"]
    extras = _extras(trained, arguments.license)
    made = publish(trained, path, int8=arguments.int8, extras=extras)
    lines = [
        f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        for name, values in made.parity.items()
    ]
    lines += [f"no {name}: {why}" for name, why in made.notes.items()]
    lines.append(f"written: {made.path}")
    if arguments.push:
        lines.append(f"pushed: {push_to_hub(path, arguments.push)}")
    return lines


def _extras(trained: Trained, license_id: str | None) -> CardExtras:
    """Return the licence, and thresholds from descriptors of test pictures that the run has."""
    import re

    import numpy as np

    from ibc_pyg.errors import UserError, shown
    from ibc_pyg.export.card import CardExtras
    from ibc_pyg.inference.eval_set import EvalSet
    from ibc_pyg.retrieval.calibration.thresholds import MOST_OF_CLASS, count_pairs

    license_id = license_id or "unknown"
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license_id):
        raise UserError(f"--license is an identifier such as apache-2.0, not {shown(license_id)}")
    if not trained.run.descriptors.is_file():
        return CardExtras(license_id)
    try:
        found = EvalSet(trained).descriptors().queries
        labels = found.labels.numpy()
        rates = count_pairs(found.vectors.numpy(), np.arange(len(labels)), labels)
    except UserError:
        return CardExtras(license_id)
    thresholds = [
        (each.false_accepts, each.similarity, each.true_accepts) for each in rates.thresholds
    ]
    pairs = (
        f"{rates.same:,} pairs of one class and {rates.other:,} of two, of at most "
        f"{MOST_OF_CLASS} pictures of each of {rates.classes:,} test classes"
    )
    return CardExtras(license_id, thresholds, pairs)

"""Scores of a pretrained backbone's pooled features without training: the floor of fine-tuning.

python benchmarks/frozen_features.py experiments/grocery_store.yaml --weights FILE
python benchmarks/frozen_features.py EXPERIMENT --weights FILE --root DIR --json out.json
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from _output import add_outputs, write_outputs
from _timing import machine
from torch import nn

from ibc_pyg.builders.data import build_data
from ibc_pyg.builders.model import build_model
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.evaluation.scores import score
from ibc_pyg.inference.extract import extract_split
from ibc_pyg.parallel.fabric import make_fabric


def measure(args: argparse.Namespace) -> dict[str, Any]:
    fields = ["--model.weights", str(args.weights), "--select", "last"]
    fields += [] if args.root is None else ["--data.root", str(args.root)]
    config = parse_config(args.experiment, fields)
    fabric, data = make_fabric(config.train), build_data(config)
    model = build_model(
        config.model, num_classes=data.splits.num_classes, channels=data.transform.channels
    )
    width = model.backbone.embedding.in_features
    # What the embedding would read is the feature.
    model.backbone.embedding = nn.Identity()
    described = extract_split(
        fabric, model.eval(), data, data.splits.tested(), batch_size=config.evaluate.batch_size
    )
    return {
        "experiment": str(args.experiment),
        "backbone": config.model.backbone,
        "width": width,
        "queries": len(described.queries.labels),
        "scores": score(described, config.evaluate, seed=config.train.seed),
    }


def markdown(report: dict[str, Any]) -> str:
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    row = report["results"]
    names = [name for name in ("R@1", "MAP@R", "RP", "NMI") if name in row["scores"]]
    return "\n".join(
        [
            f"`{report['command']}`",
            "",
            f"{described}; {row['queries']:,} test images, in percent.",
            "",
            f"| features | {' | '.join(names)} |",
            "|---|" + "---:|" * len(names),
            f"| {row['backbone']}, {row['width']:,} wide, frozen | "
            + " | ".join(f"{100 * row['scores'][name]:.1f}" for name in names)
            + " |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("experiment", type=Path, metavar="EXPERIMENT", help="experiment file, YAML")
    add("--weights", type=Path, required=True, help="weights of the backbone")
    add("--root", type=Path, help="folder of the data set")
    add_outputs(parser)
    args = parser.parse_args()
    report = {
        "command": "python " + shlex.join(["benchmarks/frozen_features.py", *sys.argv[1:]]),
        "machine": machine(torch.device("cpu")),
        "results": measure(args),
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

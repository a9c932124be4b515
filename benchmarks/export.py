"""Exported networks beside torch: largest difference, throughput, retrieval of 8 bits.

python benchmarks/export.py
python benchmarks/export.py --grocery GroceryStoreDataset --weights lite0.safetensors --threads 2
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from _output import add_outputs, write_outputs
from _timing import machine
from safetensors.torch import save_file

from ibc_pyg.builders.model import build_model
from ibc_pyg.cli import run as command
from ibc_pyg.config.files.yaml_file import config_to_yaml, parse_config
from ibc_pyg.export.descriptor import descriptor_of
from ibc_pyg.inference.trained import load_run
from ibc_pyg.runs.run_folder import RunFolder

SIZES = {
    "conv4": 84,
    "resnet50": 224,
    "timm:tf_efficientnet_lite0": 224,
    "timm:vit_tiny_patch16_224": 224,
}


def make_run(folder: Path, backbone: str, args: argparse.Namespace) -> RunFolder:
    """Make a run without training: the initial weights, drawn from a seed or of a file."""
    fields = ["--data.name", "grocery_store", "--model.backbone", backbone, "--model.steps", "0"]
    fields += ["--select", "last"]
    size = SIZES[backbone]
    shape = {"image_size": size, "resize": round(size * 8 / 7)}
    fields += ["--data.transform", "mobilenet_tf", "--data.transform_args", json.dumps(shape)]
    fields += ["--data.root", str(args.grocery or "missing"), "--model.embedding_dim", "128"]
    if "lite0" in backbone and args.weights:
        fields += ["--model.weights", str(args.weights)]
    config = parse_config(None, fields)
    torch.manual_seed(config.train.seed)
    model = build_model(config.model, num_classes=41, channels=3)
    made = RunFolder.create(folder, config_yaml=config_to_yaml(config))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, made.weights)
    return made


def throughput(network: Callable[[], Any], batch: int, args: argparse.Namespace) -> float:
    """Return pictures a second, the median of some calls."""
    network()
    taken = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        network()
        taken.append(time.perf_counter() - start)
    return batch / statistics.median(taken)


def measure(folder: Path, backbone: str, args: argparse.Namespace) -> dict[str, Any]:
    """Export one network as a folder and as a torch program, and time the forms."""
    made, out = make_run(folder / "run", backbone, args), folder / "out"
    scored = args.grocery is not None and "lite0" in backbone
    parity, networks = {}, {}
    for kind in args.int8 if scored else [None]:
        words = ["export", str(made.path), "--format", "hub", "--out", str(out)]
        if command([*words, *(["--int8", kind] if kind else [])]):
            raise SystemExit(f"{backbone}: the export failed")
        parity |= json.loads((out / "golden" / "golden.json").read_text())["parity"]
        networks["onnx"] = (out / "onnx" / "model.onnx").read_bytes()
        if kind:
            networks[kind] = (out / "onnx" / "model_int8.onnx").read_bytes()
    program = folder / "model.pt2"
    if command(["export", str(made.path), "--format", "torch", "--out", str(program)]):
        raise SystemExit(f"{backbone}: the export failed")
    size = SIZES[backbone]
    pixels = np.random.default_rng(0).uniform(0, 255, (args.batch, 3, size, size))
    pixels = pixels.astype(np.float32)
    row: dict[str, Any] = {"backbone": backbone, "parity": parity}
    module, stored = descriptor_of(load_run(made.path)), torch.export.load(program).module()
    given = torch.from_numpy(pixels)
    with torch.no_grad():
        row["torch"] = throughput(lambda: module(given), args.batch, args)
        row["program"] = throughput(lambda: stored(given), args.batch, args)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    for kind, content in networks.items():
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        call = partial(session.run, None, {"pixels": pixels})
        row[kind] = throughput(call, args.batch, args)
    return row


def markdown(report: dict[str, Any]) -> str:
    """Return the table."""
    described = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    out = [
        f"`{report['command']}`",
        "",
        f"{described}; batches of {report['batch']}, pictures a second; no training."
        f"{report['note']}",
        "",
        "| network | torch | torch.export | ONNX Runtime | 8 bits, static | dynamic | "
        "ONNX, difference | timm |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["results"]:
        cells = [f"{row[key]:.1f}" if key in row else "" for key in _COLUMNS]
        timm = row["parity"].get("timm", {}).get("difference")
        cells += [f"{row['parity']['onnx']['difference']:.1e}", f"{timm:.1e}" if timm else ""]
        out.append(f"| {row['backbone']} | {' | '.join(cells)} |")
    for row in report["results"]:
        scores = {k: v for k, v in row["parity"].items() if "R@1" in v}
        for name, values in scores.items():
            out += ["", f"{row['backbone']}, {name}: R@1 {100 * values['R@1']:.2f} %, "
                    f"MAP@R {100 * values['MAP@R']:.2f} %."]  # fmt: skip
    return "\n".join(out) + "\n"


_COLUMNS = ("torch", "program", "onnx", "static", "dynamic")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--backbones", nargs="+", choices=[*SIZES], default=[*SIZES], metavar="NAME")
    add("--grocery", type=Path, help="GroceryStoreDataset, to score 8 bits of EfficientNet-Lite0")
    add("--weights", type=Path, help="weights of EfficientNet-Lite0, timm's key names")
    add("--int8", nargs="+", choices=("static", "dynamic"), default=["static", "dynamic"])
    add("--threads", type=int, default=2, help="CPU threads")
    add("--batch", type=int, default=8)
    add("--repeats", type=int, default=5)
    add("--note", default="", help="a sentence about the machine")
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = []
    for backbone in args.backbones:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), backbone, args))
    report = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine(torch.device("cpu")),
        "batch": args.batch,
        "note": f" {args.note}" if args.note else "",
        "results": results,
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

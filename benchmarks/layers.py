"""Time and extra peak memory of graph layers on complete graphs.

    python benchmarks/layers.py --threads 1 --json layers.json --markdown layers.md

Every layer at every size runs in a process of its own. Time is the median of several calls;
"forward" is without autograd, "fwd+bwd" with gradients of input and parameters. Memory is the peak
of one forward and backward above what parameters, their gradients, the input and (for layers that
want them) the edges take.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _output import add_outputs, write_outputs

HERE = Path(__file__).resolve().parent
SIZES = [54, 128, 256, 512, 1024, 4096]
# What each layer is compared with: (layer, rival).
PAIRS = [
    ("IntraBatchConv dense", "PyG TransformerConv"),
    ("IntraBatchConv dense", "IntraBatchConv sparse"),
    ("IntraBatchConv dense", "torch MultiheadAttention"),
    ("IntraBatchConv dense", "floor"),
    ("fused TransformerConv", "PyG TransformerConv"),
    ("fused GATConv", "PyG GATConv"),
    ("fused GATv2Conv", "PyG GATv2Conv"),
]


@dataclass(frozen=True)
class Ratio:
    """How often `layer` goes into `rival`, in time and memory; above 1 the layer is better."""

    layer: str
    rival: str
    nodes: int
    forward: float
    forward_backward: float
    memory: float


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=SIZES, help="numbers of nodes")
    add("--layers", nargs="+", help="only these layers, by the names in the table")
    add("--channels", type=int, default=512, help="width of an embedding")
    add("--heads", type=int, default=2)
    add("--threads", type=int, default=1, help="CPU threads")
    add("--device", default="cpu", help="cpu or cuda")
    add("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    add("--compile", action="store_true", help="measure torch.compile(layer)")
    add("--repeats", type=int, default=15, help="timed calls per number, at most")
    add("--seconds", type=float, default=5.0, help="time per number, except for three calls")
    add_outputs(parser)
    return parser.parse_args(argv)


def ask(request: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Send a request to a fresh process; None and the last line of its error if it fails."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(request["threads"]))
    root = str(HERE.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "_layer_case.py")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if answer.returncode == 0:
        return json.loads(answer.stdout.splitlines()[-1]), ""
    lines = answer.stderr.strip().splitlines() or [f"ended with code {answer.returncode}"]
    return None, lines[-1]


def run(args: argparse.Namespace) -> dict[str, Any]:
    keys = ("channels", "heads", "threads", "device", "precision", "compile", "repeats", "seconds")
    common = {key: getattr(args, key) for key in keys}
    about, error = ask({**common, "layer": "", "nodes": 0})
    if about is None:
        sys.exit(f"layers.py: {error}")
    unknown = set(args.layers or ()) - set(about["layers"])
    if unknown:
        sys.exit(f"layers.py: --layers: unknown {sorted(unknown)}, known: {about['layers']}")
    results: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for nodes in sorted(args.sizes):
        for layer in args.layers or about["layers"]:
            before = [row for row in results if row["layer"] == layer]
            reason = ""
            if any(row["layer"] == layer for row in left_out):
                reason = "a smaller graph did not fit"
            elif before:
                # From one size to the next memory grows at most as the number of edges.
                growth = (nodes / before[-1]["nodes"]) ** 2
                if before[-1]["extra_bytes"] * growth > 0.85 * about["available"] and (
                    before[-1]["extra_bytes"] > 2**28
                ):
                    reason = f"would need {before[-1]['extra_bytes'] * growth / 2**30:.0f} GiB"
            if not reason:
                result, reason = ask({**common, "layer": layer, "nodes": nodes})
                if result is not None:
                    results.append(result)
                    print(line(result), flush=True)
                    continue
            left_out.append({"layer": layer, "nodes": nodes, "reason": reason})
            print(f"{layer:<26} N={nodes:<5} left out: {reason}", flush=True)
    return {
        "command": "python " + shlex.join(["benchmarks/layers.py", *sys.argv[1:]]),
        "machine": about["machine"],
        "settings": common,
        "results": results,
        "left_out": left_out,
        "ratios": [vars(ratio) for ratio in ratios(results)],
    }


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['layer']:<26} N={row['nodes']:<5} forward {1e3 * row['forward']:>10.2f} ms   "
        f"fwd+bwd {1e3 * row['forward_backward']:>10.2f} ms   "
        f"extra {row['extra_bytes'] / 2**20:>9.1f} MiB"
    )


def ratios(results: list[dict[str, Any]]) -> list[Ratio]:
    found = {(row["layer"], row["nodes"]): row for row in results}
    table = []
    for layer, rival in PAIRS:
        for nodes in sorted({row["nodes"] for row in results}):
            one, other = found.get((layer, nodes)), found.get((rival, nodes))
            if one is None or other is None:
                continue
            memory = other["extra_bytes"] / max(1, one["extra_bytes"])
            forward = other["forward"] / one["forward"]
            full = other["forward_backward"] / one["forward_backward"]
            table.append(Ratio(layer, rival, nodes, forward, full, memory))
    return table


def markdown(report: dict[str, Any]) -> str:
    settings, about = report["settings"], report["machine"]
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    rows = [
        f"`{report['command']}`",
        "",
        f"{described}; {settings['channels']} channels, {settings['heads']} heads, "
        f"{settings['precision']}{', compiled' if settings['compile'] else ''}.",
        "",
        "| layer | N | forward, ms | fwd+bwd, ms | extra memory, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in report["results"]:
        rows.append(
            f"| {row['layer']} | {row['nodes']} | {1e3 * row['forward']:.2f} | "
            f"{1e3 * row['forward_backward']:.2f} | {row['extra_bytes'] / 2**20:.1f} |"
        )
    for row in report["left_out"]:
        rows.append(f"| {row['layer']} | {row['nodes']} | - | - | {row['reason']} |")
    rows += [
        "",
        "How many times the rival's time and memory the layer's is smaller:",
        "",
        "| layer | rival | N | forward | fwd+bwd | memory |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for ratio in report["ratios"]:
        rows.append(
            f"| {ratio['layer']} | {ratio['rival']} | {ratio['nodes']} | {ratio['forward']:.2f} | "
            f"{ratio['forward_backward']:.2f} | {ratio['memory']:.1f} |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    args = parse()
    report = run(args)
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

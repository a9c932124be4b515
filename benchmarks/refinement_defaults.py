"""Parameters of refinement, chosen on training classes that the network did not train on.

Each method is scored with the same number of parameters, drawn from a grid. Per method, those with
the highest mean MAP@R are chosen among those whose mean R@1 is not below plain search; if none is,
those with the highest mean R@1. Runs are scored on their held-out training classes (select: val),
an experiment with frozen pretrained features on all of its training classes. No test class is used.

    python benchmarks/refinement_defaults.py RUN [RUN ...] [FILE.npz ...]
    python benchmarks/refinement_defaults.py --frozen EXPERIMENT --fields "--model.weights FILE"
"""

from __future__ import annotations

import argparse
import itertools
import random
import shlex
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _output import add_outputs, write_outputs
from torch import Tensor, nn

from ibc_pyg.builders.data import build_data
from ibc_pyg.builders.model import build_model
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.inference.embeddings_file import read_embeddings
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.extract import Descriptors, extract
from ibc_pyg.inference.trained import load_run
from ibc_pyg.metrics import list_metrics, nearest_neighbours, retrieval_metrics
from ibc_pyg.parallel.fabric import make_fabric
from ibc_pyg.refinement import LISTS, parameters_of, refine_vectors, rerank
from ibc_pyg.refinement.neighbours import neighbours

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7)
GRID: dict[str, dict[str, tuple[float, ...]]] = {
    "aqe": {"k": (2, 5, 10), "power": (0, 3, 5), "rounds": (1, 2), "share": SHARES},
    "dba": {"k": (5, 10, 20), "power": (3, 5), "rounds": (1, 2), "share": SHARES},
    "gcr": {"k": (5, 10, 20), "power": (1, 4), "rounds": (1, 2), "share": SHARES},
    "diffusion": {"k": (10, 20, 40), "power": (3, 5), "rounds": (10, 20), "share": SHARES},
    "gnn": {"k": (10, 20, 30), "power": (2, 4), "rounds": (1, 2), "share": SHARES},
    "k_reciprocal": {"k": (10, 20, 30), "share": SHARES},
}


def held_out(run: Path) -> Descriptors:
    """Embed the held-out training classes of a run, or read a file of embeddings."""
    if run.suffix == ".npz":
        return read_embeddings(run).queries
    trained = load_run(run)
    data = EvalSet(trained).data
    if data.splits.val is None:
        raise SystemExit(f"{run} holds out no training classes; train it with --select val")
    return extract(
        make_fabric(trained.config.train),
        trained.model,
        data,
        data.splits.val.queries,
        batch_size=trained.config.evaluate.batch_size,
    )


def frozen(experiment: Path, fields: list[str]) -> Descriptors:
    """Embed the training classes of an experiment by its pretrained backbone."""
    config = parse_config(experiment, ["--select", "last", *fields])
    data = build_data(config)
    model = build_model(
        config.model, num_classes=data.splits.num_classes, channels=data.transform.channels
    )
    model.backbone.embedding = nn.Identity()
    return extract(
        make_fabric(config.train),
        model.eval(),
        data,
        data.splits.train,
        batch_size=config.evaluate.batch_size,
    )


def scores(method: str, x: Tensor, y: Tensor, **given: Any) -> tuple[float, float]:
    """Return R@1 and MAP@R in percent."""
    length = int(y.unique(return_counts=True)[1].max())
    if method == "plain":
        found = list_metrics(nearest_neighbours(x, k=length).indices, y)
    elif method in LISTS:
        found = list_metrics(rerank(method, x, None, length, parameters_of(method, **given)), y)
    else:
        refined = refine_vectors(method, x, None, parameters_of(method, **given))
        if refined.same:
            near = neighbours(refined.queries, refined.gallery, length, same=True)
            found = list_metrics(near.indices, y)
        else:
            found = retrieval_metrics(refined.queries, y)
    return 100 * found["R@1"], 100 * found["MAP@R"]


def chosen(rows: list[dict[str, Any]], floor: float) -> dict[str, Any]:
    """Return the row of highest mean MAP@R at no loss of mean R@1."""
    kept = [row for row in rows if fmean(s[0] for s in row["scores"]) >= floor]
    if kept:
        return max(kept, key=lambda row: fmean(s[1] for s in row["scores"]))
    return max(rows, key=lambda row: fmean(s[0] for s in row["scores"]))


def measure(sets: dict[str, Descriptors], names: list[str], trials: int) -> dict[str, Any]:
    plain = [scores("plain", d.vectors, d.labels) for d in sets.values()]
    print("plain", plain, flush=True)
    methods = []
    for method in names:
        grid, rows = GRID[method], []
        grid_points = list(itertools.product(*grid.values()))
        draws = random.Random(0)
        for values in draws.sample(grid_points, min(trials, len(grid_points))):
            given = dict(zip(grid, values, strict=True))
            found = [scores(method, d.vectors, d.labels, **given) for d in sets.values()]
            rows.append({"parameters": given, "scores": found})
        best = chosen(rows, fmean(each[0] for each in plain))
        print(method, best, flush=True)
        methods.append({"method": method, "chosen": best, "tried": rows})
    return {"plain": plain, "methods": methods}


def markdown(report: dict[str, Any]) -> str:
    results = report["results"]

    def cells(found: list[list[float]]) -> str:
        return " | ".join(f"{r1:.1f} / {map_r:.1f}" for r1, map_r in found)

    out = [
        f"`{report['command']}`",
        "",
        "R@1 / MAP@R in percent, on classes that the networks did not train on, none of them a "
        f"test class: {', '.join(f'{name}, {n:,} images' for name, n in report['sets'].items())}.",
        "",
        f"| method | chosen | tried | {' | '.join(report['sets'])} |",
        "|---|---|---:|" + "---:|" * len(report["sets"]),
        f"| plain |  |  | {cells(results['plain'])} |",
    ]
    for row in results["methods"]:
        parameters = row["chosen"]["parameters"]
        described = ", ".join(f"{name} {value:g}" for name, value in parameters.items())
        out.append(
            f"| `{row['method']}` | {described} | {len(row['tried'])} | "
            f"{cells(row['chosen']['scores'])} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="runs trained with --select val, or npz files of embeddings",
    )
    add("--frozen", type=Path, metavar="EXPERIMENT", help="also features of its backbone")
    add("--fields", type=shlex.split, default=[], help="fields of that experiment, in one text")
    add("--name", help="name of the features in the table")
    add("--methods", nargs="+", choices=list(GRID), default=list(GRID))
    add("--trials", type=int, default=8, help="parameters tried for each method")
    add("--threads", type=int, default=1, help="CPU threads")
    add_outputs(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sets = {run.stem: held_out(run) for run in args.runs}
    if args.frozen is not None:
        sets[args.name or args.frozen.stem] = frozen(args.frozen, args.fields)
    report = {
        "command": "python " + shlex.join(["benchmarks/refinement_defaults.py", *sys.argv[1:]]),
        "sets": {name: len(each.labels) for name, each in sets.items()},
        "results": measure(sets, args.methods, args.trials),
    }
    write_outputs(args, report, markdown(report))


if __name__ == "__main__":
    main()

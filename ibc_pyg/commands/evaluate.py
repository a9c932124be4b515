"""Score runs on their test images, or embeddings of another program.

For several runs of one data set, their mean and their ensemble are also scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibc_pyg.commands.options.data_fields import add_data_fields, data_fields
from ibc_pyg.commands.options.numbers import whole
from ibc_pyg.commands.options.refine import add_refine_parameters, refine_parameters, refiner
from ibc_pyg.commands.options.trust import add_trust_code
from ibc_pyg.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.console import Cell
    from ibc_pyg.evaluation.runs import Evaluation, ScoreOptions, Scores

NAME = "evaluate"
HELP = "score runs, or embeddings in a file, on unseen classes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "run_dirs", type=Path, metavar="RUN_DIR", nargs="*", help="folders of finished runs"
    )
    parser.add_argument(
        "--embeddings",
        type=Path,
        metavar="FILE",
        help="score an npz file with embeddings, labels and optionally gallery, gallery_labels "
        "instead of runs",
    )
    parser.add_argument(
        "--refine",
        type=refiner,
        metavar="METHOD",
        help="also score refined descriptors: by the message passing of the run (mpn, "
        "mpn_k_reciprocal, mpn_cluster), without trained weights (aqe, dba, gcr, diffusion, gnn, "
        "k_reciprocal), by the refiner that `refine` trained (refiner), by FILE.py:NAME, or none "
        "(default: evaluate.refine of the run)",
    )
    parser.add_argument(
        "--refine-size",
        type=whole(1, 100_000),
        metavar="N",
        help="images in a neighbourhood of message passing (default: that of the run)",
    )
    add_refine_parameters(parser)
    parser.add_argument(
        "--rerank", action="store_true", help="also score k-reciprocal re-ranking, for comparison"
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average the embeddings of each image and its mirror image",
    )
    parser.add_argument(
        "--crops",
        type=int,
        choices=(1, 5, 9),
        default=1,
        help="average the embeddings of 1 crop (centre), 5 (and corners) or 9 (grid) (default: 1)",
    )
    parser.add_argument(
        "--ks",
        type=_ks,
        metavar="K,K,...",
        help="the K of R@K (default: evaluate.ks of the run, else those of the data set)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the metrics as JSON")
    parser.add_argument(
        "--save-embeddings",
        type=Path,
        metavar="FILE",
        help="write the descriptors of the last row of the table as npz",
    )
    add_trust_code(parser, "a run")
    add_data_fields(parser)


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    fields = data_fields(rest, NAME)
    from ibc_pyg.commands.options.outputs import check_outputs

    check_outputs(
        (arguments.json, arguments.save_embeddings),
        inputs=[arguments.embeddings],
        runs=arguments.run_dirs,
    )
    if arguments.embeddings is not None:
        _check_options_without_run(arguments, fields)
        return _embeddings(arguments)
    if not arguments.run_dirs:
        raise UserError("give the folder of a run, or --embeddings FILE; see `evaluate --help`")
    return _runs(arguments, fields)


def _runs(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info, table
    from ibc_pyg.evaluation.runs import score_runs
    from ibc_pyg.files import write_json
    from ibc_pyg.inference.embeddings_file import save_embeddings

    found = score_runs(arguments.run_dirs, _options(arguments, fields))
    out = console()
    table(_table(found), console=out, title=_title(found.runs[0].plain))
    _notes(out, *(scores.plain for scores in found.runs))
    chosen_on_test = [n for n, s in zip(found.names, found.selects, strict=True) if s == "test"]
    if chosen_on_test:
        info(
            out,
            "Note: the epoch was chosen on the test classes (select = test): "
            f"{', '.join(chosen_on_test)}.",
        )
    if arguments.json is not None:
        write_json(arguments.json, found.to_dict())
    if arguments.save_embeddings is not None:
        save_embeddings(arguments.save_embeddings, found.final, found.table)
    return 0


def _embeddings(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import table
    from ibc_pyg.evaluation.runs import score_embeddings
    from ibc_pyg.files import write_json
    from ibc_pyg.inference.embeddings_file import read_embeddings

    given = read_embeddings(arguments.embeddings)
    scores, refinement = score_embeddings(given, _options(arguments))
    out = console()
    rows = _rows(arguments.embeddings.name, scores, [], refinement)
    table(rows, console=out, title=_title(scores.plain))
    _notes(out, scores.plain)
    if arguments.json is not None:
        write_json(arguments.json, {"embeddings": str(arguments.embeddings)} | scores.to_dict())
    return 0


def _check_options_without_run(arguments: argparse.Namespace, fields: Sequence[str]) -> None:
    if arguments.run_dirs:
        raise UserError("--embeddings is scored without a run; give one or the other")
    for option, given in (
        ("--refine-size", arguments.refine_size is not None),
        ("--flip", arguments.flip),
        ("--crops", arguments.crops != 1),
        ("--save-embeddings", arguments.save_embeddings is not None),
        (fields[0] if fields else "", bool(fields)),
    ):
        if given:
            raise UserError(f"{option} needs a model; it cannot be used with --embeddings")


def _options(arguments: argparse.Namespace, fields: Sequence[str] = ()) -> ScoreOptions:
    from ibc_pyg.evaluation.runs import ScoreOptions
    from ibc_pyg.inference.test_time_views import Views

    return ScoreOptions(
        ks=arguments.ks,
        views=Views(arguments.flip, arguments.crops),
        refine=arguments.refine,
        refine_size=arguments.refine_size,
        **{f"refine_{name}": value for name, value in refine_parameters(arguments).items()},
        rerank=arguments.rerank,
        trust_code=arguments.trust_code,
        fields=tuple(fields),
    )


def _table(found: Evaluation) -> list[dict[str, Cell]]:
    from ibc_pyg.evaluation.refined import refine_text

    views = found.views.names
    sets = list(zip(found.names, found.runs, strict=True))
    if found.mean is not None:
        sets.append((f"mean of {len(found.runs)}", found.mean))
    if found.ensemble is not None:
        sets.append((f"ensemble of {len(found.runs)}", found.ensemble))
    refinement = refine_text(found.config)
    return [row for name, scores in sets for row in _rows(name, scores, views, refinement)]


def _rows(
    name: str, scores: Scores, added: Sequence[str], refinement: str = ""
) -> list[dict[str, Cell]]:
    from ibc_pyg.commands.options.common import metric_row

    rows = [metric_row(_label(name, added), scores.plain)]
    if scores.refined is not None:
        rows.append(metric_row(_label(name, [*added, refinement]), scores.refined))
    if scores.reranked is not None:
        rows.append(metric_row(_label(name, [*added, "re-ranked"]), scores.reranked))
    return [dict(row) for row in rows]


def _label(name: str, added: Sequence[str]) -> str:
    return f"{name} [{', '.join(added)}]" if added else name


def _title(scores: Mapping[str, Any]) -> str:
    return (
        f"{scores['queries']:,.0f} queries, "
        f"{scores['queries_without_match']:,.0f} without a match (left out of the means)"
    )


def _notes(out: Console, *runs: Mapping[str, Any]) -> None:
    from ibc_pyg.console import info

    scores = runs[0]
    if "NMI" in scores:
        seeds = list(dict.fromkeys(f"{each['kmeans_seed']:.0f}" for each in runs))
        info(
            out,
            f"NMI: k-means++ with {scores['kmeans_swaps']:.0f} rounds of local search, "
            f"{scores['kmeans_clusters']:,.0f} clusters, restarts: "
            f"{scores['kmeans_restarts']:.0f}, iterations: {scores['kmeans_iterations']:.0f}, "
            f"{'' if scores['kmeans_passes'] else 'no '}moves of single points, "
            f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}",
        )


def _ks(text: str) -> tuple[int, ...]:
    return tuple(sorted({whole(1, 10**9)(part.strip()) for part in text.split(",")}))

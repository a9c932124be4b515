"""Find the pictures most similar to others, in an index or among the test images of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibc_pyg.commands.index.options import (
    add_model,
    check_weights,
    open_index,
    refuse_parameters,
)
from ibc_pyg.commands.options.data_fields import add_data_fields, data_fields
from ibc_pyg.commands.options.numbers import whole
from ibc_pyg.commands.options.refine import add_refine_parameters, refine_parameters

if TYPE_CHECKING:
    from rich.console import Console

    from ibc_pyg.refinement import Parameters
    from ibc_pyg.retrieval.hits import Hit
    from ibc_pyg.retrieval.search import RunHit

NAME = "search"
HELP = "find the pictures most similar to a picture"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "index",
        type=Path,
        metavar="INDEX",
        help="an index, or the folder of a finished run; none with --qdrant",
    )
    parser.add_argument(
        "queries", type=Path, nargs="*", metavar="QUERY", help="pictures to search with"
    )
    parser.add_argument(
        "--qdrant",
        metavar="URL",
        help="search a collection of this server, which `index push` made; its key is read from "
        "QDRANT_API_KEY",
    )
    parser.add_argument("--collection", metavar="NAME", help="the collection")
    parser.add_argument(
        "--exact", action="store_true", help="let the server compare with all vectors"
    )
    parser.add_argument(
        "-k", type=whole(1, 10**6), default=10, help="number of pictures (default: 10)"
    )
    parser.add_argument(
        "--where",
        action="append",
        metavar="label=CLASS",
        help="only pictures of this class; may be repeated",
    )
    parser.add_argument(
        "--vote", action="store_true", help="classify each query by the classes of its neighbours"
    )
    parser.add_argument(
        "--min-similarity", type=float, metavar="S", help="leave out less similar pictures"
    )
    parser.add_argument(
        "--refine",
        type=_method,
        metavar="METHOD",
        help="search with refined vectors: of the query alone (aqe), or what `index refine` stored "
        "(dba, diffusion, refiner)",
    )
    add_refine_parameters(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page that shows the pictures"
    )
    add_model(parser)
    add_data_fields(parser)


def _method(text: str) -> str:
    from ibc_pyg.errors import ConfigError
    from ibc_pyg.retrieval.refined.record import check_method

    try:
        check_method(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.errors import UserError, printable, program
    from ibc_pyg.retrieval.reader import is_index
    from ibc_pyg.runs.run_folder import RunFolder

    fields = data_fields(rest, NAME)
    if arguments.qdrant is not None:
        arguments.queries.insert(0, arguments.index)
    elif not arguments.queries:
        raise UserError("name an index or a run, and a picture to search with")
    least = arguments.min_similarity
    if least is not None and not -1 <= least <= 1:
        raise UserError(f"--min-similarity must be in [-1, 1], not {least}")
    for query in arguments.queries:
        if not query.is_file():
            raise UserError(f"{printable(query)} is not a file; give a picture to search with")
    if arguments.qdrant is not None:
        return _in_collection(arguments, fields)
    for option, given in (("--collection", arguments.collection), ("--exact", arguments.exact)):
        if given:
            raise UserError(f"{option} goes with --qdrant; give both, or neither")
    indexed = is_index(arguments.index)
    if not indexed and not RunFolder(arguments.index).config.is_file():
        raise UserError(
            f"{printable(arguments.index)} is neither an index nor the folder of a run; build an "
            f"index: {program()} index build MODEL IMAGES --out INDEX"
        )
    place = {"indexes" if indexed else "runs": [arguments.index]}
    check_outputs([arguments.json, arguments.html], inputs=arguments.queries, **place)
    if not indexed:
        return _in_run(arguments, fields)
    if fields:
        raise UserError(f"{fields[0]} is of a run, and {printable(arguments.index)} is an index")
    return _in_index(arguments)


def _in_index(arguments: argparse.Namespace) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.errors import program

    where = _where(arguments.where)
    with open_index(arguments) as index:
        index.check_labels(where["label"] if where else [])
        lists = index.search(
            arguments.queries,
            k=arguments.k,
            where=where,
            min_similarity=arguments.min_similarity,
            refine=arguments.refine,
            parameters=_parameters(arguments),
        )
        unfinished = not index.complete
        about = f"{len(index):,} pictures; {index.fingerprint}"
    _show(arguments, lists, str(arguments.index), about)
    if unfinished:
        info(console(), f"The index is not complete: {program()} index sync {arguments.index}")
    return 0


def _in_collection(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.errors import UserError, program
    from ibc_pyg.retrieval.qdrant.client import connected
    from ibc_pyg.retrieval.qdrant.search import open_collection, search_collection
    from ibc_pyg.retrieval.queries import read_queries

    name = arguments.collection
    if name is None:
        raise UserError("--qdrant needs the name of a collection: --collection NAME")
    if fields:
        raise UserError(f"{fields[0]} is of a run, and has no effect on a collection; omit it")
    if arguments.refine is not None:
        raise UserError("--refine needs an index, and has no effect on a collection; omit it")
    check_weights(arguments)
    refuse_parameters(refine_parameters(arguments), "a collection")
    check_outputs([arguments.json, arguments.html], inputs=arguments.queries)
    with connected(arguments.qdrant) as client:
        record, embedder = open_collection(
            client,
            name,
            arguments.model,
            weights=arguments.weights,
            trust_code=arguments.trust_code,
        )
        queries = read_queries(arguments.queries, record.fingerprint.dim, lambda: embedder)
        lists = search_collection(
            client,
            name,
            queries,
            arguments.k,
            _where(arguments.where),
            arguments.min_similarity,
            exact=arguments.exact,
        )
    _show(arguments, lists, name, str(record.fingerprint))
    if not record.complete:
        info(console(), f"the upload was interrupted: {program()} index push INDEX --qdrant "
                        f"{arguments.qdrant} --collection {name}")  # fmt: skip
    return 0


def _show(
    arguments: argparse.Namespace, lists: Sequence[Sequence[Hit]], name: str, about: str
) -> None:
    """Print hits, and write the files that were asked for."""
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.console import info
    from ibc_pyg.files import write_json
    from ibc_pyg.retrieval.hits import vote
    from ibc_pyg.retrieval.page.page import Answer, write_page

    out, found, answers = console(), [], []
    for query, hits in zip(arguments.queries, lists, strict=True):
        result: dict[str, Any] = {"query": str(query), "hits": [hit.to_dict() for hit in hits]}
        info(out, f"{query}:" if hits else f"{query}: no picture found")
        if hits:
            print_hits(hits, out)
        winner = vote(hits) if arguments.vote else None
        answers.append(Answer(query, hits, winner))
        if arguments.vote:
            result["vote"] = None if winner is None else vars(winner)
            info(out, f"vote: {'no neighbour has a class' if winner is None else winner}")
        found.append(result)
    if arguments.json is not None:
        write_json(arguments.json, {"index": name, "queries": found})
    if arguments.html is not None:
        write_page(arguments.html, answers, Path(name).name, [about])
    for file in (arguments.json, arguments.html):
        if file is not None:
            info(out, f"written: {file}")


def _parameters(arguments: argparse.Namespace) -> Parameters | None:
    from ibc_pyg.refinement import parameters_of

    given = refine_parameters(arguments)
    if arguments.refine == "aqe":
        return parameters_of("aqe", **given)
    refuse_parameters(
        given, "a search" if arguments.refine is None else f"what is stored of {arguments.refine}"
    )
    return None


def _where(filters: Sequence[str] | None) -> dict[str, list[str]] | None:
    from ibc_pyg.errors import UserError

    if filters is None:
        return None
    labels = []
    for each in filters:
        key, equals, label = each.partition("=")
        if key != "label" or not equals:
            raise UserError(f"--where takes label=CLASS, not {each!r}")
        labels.append(label)
    return {"label": labels}


def print_hits(hits: Sequence[Hit | RunHit], out: Console) -> None:
    """Print one line per hit."""
    from ibc_pyg.console import table
    from ibc_pyg.retrieval.hits import rate

    notes = [_note(hit) for hit in hits]
    rows: list[dict[str, int | float | str | None]] = []
    for hit, note in zip(hits, notes, strict=True):
        row: dict[str, int | float | str | None] = {
            "rank": hit.rank,
            "similarity": hit.similarity,
            "class": hit.label,
            "image": hit.path,
        }
        strangers = getattr(hit, "strangers", None)
        if strangers is not None:
            row = {name: row[name] for name in ("rank", "similarity")} | {
                "strangers": rate(strangers),
                **row,
            }
        rows.append(row | ({"": note} if any(notes) else {}))
    table(rows, console=out)


def _note(hit: Hit | RunHit) -> str:
    parts = ["identical"] if getattr(hit, "identical", False) else []
    copies = len(getattr(hit, "copies", ()))
    return ", ".join([*parts, *([f"{copies} more with this content"] if copies else [])])


def _in_run(arguments: argparse.Namespace, fields: Sequence[str]) -> int:
    from ibc_pyg.commands.options.common import CHOSEN_ON_TEST, console
    from ibc_pyg.console import info
    from ibc_pyg.errors import UserError, program
    from ibc_pyg.files import write_json
    from ibc_pyg.inference.trained import load_run
    from ibc_pyg.retrieval.search import search

    for option, given in (
        ("--where", arguments.where),
        ("--vote", arguments.vote),
        ("--min-similarity", arguments.min_similarity is not None),
        ("--refine", arguments.refine),
        ("--model", arguments.model),
        ("--weights", arguments.weights),
        ("--html", arguments.html),
        ("a second picture", len(arguments.queries) > 1),
    ):
        if given:
            raise UserError(
                f"{option} needs an index, and {arguments.index} is a run; build one: "
                f"{program()} index build {arguments.index} IMAGES --out INDEX"
            )
    out = console()
    trained = load_run(arguments.index, trust_code=arguments.trust_code, fields=fields)
    hits = search(trained, arguments.queries[0], arguments.k)
    print_hits(hits, out)
    if trained.config.select == "test":
        info(out, CHOSEN_ON_TEST)
    if arguments.json is not None:
        found = {"select": trained.config.select, "hits": [vars(hit) for hit in hits]}
        write_json(arguments.json, found)
    return 0

"""Actions that put an index in order: clusters, outliers, map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ibc_pyg.commands.options.numbers import whole

_SHOWN = 10


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    clusters = actions.add_parser(
        "clusters", help="divide the pictures into groups", allow_abbrev=False
    )
    clusters.add_argument("index", type=Path, metavar="INDEX")
    kind = clusters.add_mutually_exclusive_group(required=True)
    kind.add_argument("-n", type=int, dest="number", metavar="K", help="k-means with K groups")
    kind.add_argument("--hdbscan", action="store_true", help="any number of groups, by density")
    clusters.add_argument(
        "--min-size", type=int, default=5, metavar="N", help="smallest group size of HDBSCAN"
    )
    clusters.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="seed of k-means")
    clusters.add_argument("--html", type=Path, metavar="FILE", help="page of the groups")
    clusters.add_argument("--csv", type=Path, metavar="FILE", help="group of each picture")
    clusters.add_argument(
        "--names", type=Path, metavar="FILE", help="CSV file of names, read and updated"
    )
    clusters.set_defaults(act=_clusters)

    outliers = actions.add_parser(
        "outliers", help="rank pictures unlike their class: likely label errors", allow_abbrev=False
    )
    outliers.add_argument("index", type=Path, metavar="INDEX")
    outliers.add_argument("-k", type=int, default=10, help="neighbours that vote")
    outliers.add_argument("--html", type=Path, metavar="FILE", help="page of the first 100")
    outliers.add_argument("--csv", type=Path, metavar="FILE", help="all labelled pictures, ranked")
    outliers.set_defaults(act=_outliers)

    layout = actions.add_parser(
        "map", help="write a page with all pictures on a plane", allow_abbrev=False
    )
    layout.add_argument("index", type=Path, metavar="INDEX")
    layout.add_argument("--html", type=Path, required=True, metavar="FILE", help="the page")
    layout.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="seed of all draws")
    layout.set_defaults(act=_map)


def _clusters(arguments: argparse.Namespace) -> int:
    from ibc_pyg.collections.cluster_names import read_names, with_names, write_names
    from ibc_pyg.collections.clusters import hdbscan_clusters, k_means_clusters
    from ibc_pyg.collections.page.clusters import write_clusters_page
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.files import write_atomically
    from ibc_pyg.plain_text import to_sheet
    from ibc_pyg.retrieval.index import Index

    outputs = [arguments.html, arguments.csv, arguments.names]
    check_outputs(outputs, indexes=[arguments.index])
    names = read_names(arguments.names) if arguments.names else []
    out = console()
    with Index.open(arguments.index) as index:
        if arguments.hdbscan:
            found = hdbscan_clusters(index, arguments.min_size)
        else:
            found = k_means_clusters(index, arguments.number, seed=arguments.seed)
    found = with_names(found, names)
    for number, each in enumerate(found.clusters[:_SHOWN], start=1):
        label, share = each.labels[0] if each.labels else ("no class", 1.0)
        name = f"{each.name}: " if each.name else ""
        info(out, f"group {number}: {name}{len(each.members):,} pictures, {share:.0%} {label}")
    if len(found.clusters) > _SHOWN:
        info(out, f"and {len(found.clusters) - _SHOWN:,} more groups")
    info(out, f"{found.method}: {len(found.clusters):,} groups, {len(found.rest):,} without one")
    if arguments.csv:
        rows: list[list[object]] = [["path", "label", "group", "name", "similarity"]]
        groups = [*enumerate(found.clusters, start=1)]
        for number, each in groups:
            for one in each.members:
                rows.append([one.path, one.label, number, each.name, round(one.similarity, 4)])
        rows += [[one.path, one.label, "", "", ""] for one in found.rest]
        write_atomically(arguments.csv, to_sheet(rows).encode())
    if arguments.names:
        write_names(arguments.names, found, names)
    if arguments.html:
        write_clusters_page(arguments.html, found, str(arguments.index))
    for path in filter(None, outputs):
        info(out, f"written: {path}")
    return 0


def _outliers(arguments: argparse.Namespace) -> int:
    from ibc_pyg.collections.outliers import find_outliers
    from ibc_pyg.collections.page.outliers import write_outliers_page
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import Progress, info
    from ibc_pyg.files import write_atomically
    from ibc_pyg.plain_text import to_sheet
    from ibc_pyg.retrieval.index import Index

    check_outputs([arguments.html, arguments.csv], indexes=[arguments.index])
    out = console()
    with (
        Index.open(arguments.index) as index,
        Progress(len(index), "compare", console=out) as bar,
    ):
        found = find_outliers(index, arguments.k, done=bar.update)
    suspicious = [each for each in found if each.suspicious]
    for each in suspicious[:_SHOWN]:
        info(
            out,
            f"{each.path}: {each.label} has {each.agreement:.0%} of the votes, "
            f"{each.suggested} {each.share:.0%}",
        )
    info(out, f"{len(suspicious):,} of {len(found):,} pictures are more like another class")
    if arguments.csv:
        rows = [each.to_dict() for each in found]
        sheet: list[list[object]] = [list(rows[0]), *(list(row.values()) for row in rows)]
        write_atomically(arguments.csv, to_sheet(sheet).encode())
        info(out, f"written: {arguments.csv}")
    if arguments.html:
        write_outliers_page(arguments.html, found, str(arguments.index))
        info(out, f"written: {arguments.html}")
    return 0


def _map(arguments: argparse.Namespace) -> int:
    from ibc_pyg.collections.layout import make_layout
    from ibc_pyg.collections.page.map import write_map_page
    from ibc_pyg.commands.options.common import console
    from ibc_pyg.commands.options.outputs import check_outputs
    from ibc_pyg.console import info
    from ibc_pyg.retrieval.index import Index

    check_outputs([arguments.html], indexes=[arguments.index])
    with Index.open(arguments.index) as index:
        layout = make_layout(index, seed=arguments.seed)
    write_map_page(arguments.html, layout, str(arguments.index))
    info(console(), f"{len(layout.paths):,} pictures; written: {arguments.html}")
    return 0

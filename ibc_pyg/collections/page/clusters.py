"""Page of groups: their most central and most distant pictures."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.collections.clusters import Cluster, Clusters
from ibc_pyg.collections.page.page import views, write_page

CENTRAL, DISTANT = 8, 4
GROUPS = 300
"""Groups shown."""


def write_clusters_page(path: Path, found: Clusters, title: str) -> None:
    """Write the page of a clustering, its largest groups first.

    Args:
        path: The HTML file.
        found: The groups.
        title: Title of the page.

    Raises:
        RunError: If the file cannot be written.
    """
    shown = list(found.clusters[:GROUPS])
    if found.rest:
        shown.append(Cluster(found.rest, "No group"))
    parts = [(each, each.members[:CENTRAL], each.members[CENTRAL:][-DISTANT:]) for each in shown]
    pictures = views([m.path for _, near, far in parts for m in (*near, *far)])
    more = f", the largest {GROUPS} are shown" if len(found.clusters) > GROUPS else ""
    files = sum(len(each.members) for each in found.clusters)
    write_page(
        path,
        "clusters.html.j2",
        title,
        [
            f"{found.method}: {files:,} pictures in {len(found.clusters):,} groups{more}; "
            f"{len(found.rest):,} pictures without a group."
        ],
        found=len(found.clusters),
        groups=[
            (
                each,
                [(member, pictures[member.path]) for member in near],
                [(member, pictures[member.path]) for member in far],
            )
            for each, near, far in parts
        ],
    )

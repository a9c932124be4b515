"""Page of likely label errors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ibc_pyg.collections.outliers import Outlier, class_agreement
from ibc_pyg.collections.page.page import views, write_page

SHOWN = 100
_CLASSES = 200


def write_outliers_page(path: Path, found: Sequence[Outlier], title: str) -> None:
    """Write the page of the pictures most unlike their class.

    Args:
        path: The HTML file.
        found: All labelled pictures, ranked.
        title: Title of the page.

    Raises:
        RunError: If the file cannot be written.
    """
    suspicious = [each for each in found if each.suspicious]
    shown = suspicious[:SHOWN]
    pictures = views([file for each in shown for file in (each.path, *each.neighbours)])
    more = f"; {SHOWN} are shown" if len(suspicious) > SHOWN else ""
    write_page(
        path,
        "outliers.html.j2",
        title,
        [
            f"{len(suspicious):,} of {len(found):,} labelled pictures have nearest neighbours that "
            f"vote for another class{more}. The most likely label errors come first.",
            "Beside each picture: the share of the votes for its class and for the most voted one, "
            "and the neighbours that vote.",
        ],
        outliers=[
            (
                each,
                pictures[each.path],
                [
                    (label, pictures[file])
                    for label, file in zip(each.labels, each.neighbours, strict=True)
                ],
            )
            for each in shown
        ],
        classes=dict(islice(class_agreement(found).items(), _CLASSES)),
    )

"""Page and picture of an explanation: two pictures, and a batch as the method sees it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ibc_pyg.explain.pair import PairExplanation
from ibc_pyg.files import write_atomically
from ibc_pyg.report.data import AttentionMap, BatchGraph
from ibc_pyg.report.figures.batch_graph import SIDE, graph_view
from ibc_pyg.report.figures.contributions import contribution_picture
from ibc_pyg.report.figures.explained import picture_explanation
from ibc_pyg.report.figures.heat_map import attention_view
from ibc_pyg.report.render import render_page


@dataclass(frozen=True)
class Explanation:
    """Contents of the page.

    Attributes:
        pair: The two pictures.
        names: Their names.
        labels: Their classes, where they are known.
        attention: Attention of a batch; None without one.
        graph: The same batch as a graph; None without one.
        no_batch: Why there is no batch.
    """

    pair: PairExplanation
    names: tuple[str, str]
    labels: tuple[str, str] = ("", "")
    attention: AttentionMap | None = None
    graph: BatchGraph | None = None
    no_batch: str = ""

    def heat(self) -> list[npt.NDArray[np.uint8]]:
        """Return the contributions of both pictures in one scale, RGB uint8 `[S, S, 3]` each."""
        pair = self.pair
        top = max(float(np.abs(each).max()) for each in pair.maps)
        return [
            contribution_picture(pixels, cells, top)
            for pixels, cells in zip(pair.pixels, pair.maps, strict=True)
        ]


def write_explanation(path: Path, explanation: Explanation, title: str) -> None:
    """Write the self-contained page of an explanation.

    Raises:
        RunError: If the file cannot be written.
    """
    pair = explanation.pair
    rows, columns = pair.maps[0].shape
    page = render_page(
        "explanation.html.j2",
        title,
        pair=pair,
        sides=[
            {"plain": plain, "heat": heat, "name": name, "label": label}
            for plain, heat, name, label in zip(
                pair.pixels, explanation.heat(), explanation.names, explanation.labels, strict=True
            )
        ],
        cells=f"{rows} x {columns} cells; their sums are {pair.maps[0].sum():.4f} and "
        f"{pair.maps[1].sum():.4f}.",
        attention=attention_view(explanation.attention),
        graph=graph_view(explanation.graph),
        graph_side=SIDE,
        no_batch=explanation.no_batch,
    )
    write_atomically(path, page.encode())


def write_explanation_picture(path: Path, explanation: Explanation) -> None:
    """Write the explanation as a PNG file: the pictures, the attention, the graph.

    Raises:
        RunError: If the file cannot be written.
    """
    pixels = picture_explanation(
        explanation.pair,
        explanation.heat(),
        explanation.names,
        explanation.attention,
        explanation.graph,
    )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    write_atomically(path, file.getvalue())

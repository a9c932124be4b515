"""Self-contained HTML report of a run."""

from __future__ import annotations

from pathlib import Path

from ibc_pyg.files import make_folder, write_atomically
from ibc_pyg.report.data import ReportData
from ibc_pyg.report.figures.batch_graph import SIDE, graph_view
from ibc_pyg.report.figures.curves import draw_charts
from ibc_pyg.report.figures.descriptor_map import draw_map
from ibc_pyg.report.figures.heat_map import attention_view
from ibc_pyg.report.metrics import metrics_view
from ibc_pyg.report.render import render_page


def write_report(data: ReportData, path: Path | str) -> Path:
    """Write the report of a run.

    The file holds its style sheet, its script and its pictures; a content security policy in it
    forbids every request and every other script. All texts of `data` are escaped.

    Args:
        data: Contents of the report.
        path: The HTML file; its folder is created if it is missing.

    Returns:
        `path`.

    Raises:
        RunError: If the file cannot be written; an earlier one is kept.
        ValueError: If a picture is not uint8 grey or RGB.
    """
    path = Path(path)
    page = render(data)
    make_folder(path.parent)
    write_atomically(path, page.encode())
    return path


def render(data: ReportData) -> str:
    """Return the report as HTML; see `write_report`."""
    return render_page(
        "report.html.j2",
        data.title,
        data=data,
        metrics=metrics_view(data),
        charts=draw_charts(data.history),
        attention=attention_view(data.attention),
        map=draw_map(data.points),
        graph=graph_view(data.graph),
        graph_side=SIDE,
    )

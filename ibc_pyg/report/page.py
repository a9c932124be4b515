"""The report as one HTML file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import ibc_pyg
from ibc_pyg.errors import RunError
from ibc_pyg.report.attention import attention_section
from ibc_pyg.report.curves import curves_section
from ibc_pyg.report.data import ReportData
from ibc_pyg.report.descriptor_map import map_section
from ibc_pyg.report.gallery import gallery_section
from ibc_pyg.report.markup import Markup, Missing, element, missing
from ibc_pyg.report.metrics import metrics_section
from ibc_pyg.report.script import SCRIPT
from ibc_pyg.report.style import style_sheet


def write_report(data: ReportData, path: Path | str) -> Path:
    """Write the report of a run.

    The file holds its styles, its script and its pictures; a content policy in it forbids every
    request and every other script. All texts of `data` are escaped.

    Args:
        data: What the report shows.
        path: The HTML file; its folder is made if it is missing.

    Returns:
        `path`.

    Raises:
        RunError: If the file cannot be written; an earlier one is as it was.
        ValueError: If a picture is not uint8 grey or RGB.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft")
    page = render(data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file name that is not valid Unicode may have become a class name.
        draft.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
        draft.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot write the report: {error.strerror}") from error
    return path


def render(data: ReportData) -> str:
    """Return the report as HTML; see `write_report`."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{data.title} · ibc_pyg"),
        element("style", Markup(style_sheet())),
    )
    body = element(
        "body",
        _header(data),
        element("main", *_sections(data)),
        element("footer", f"Written by ibc_pyg {ibc_pyg.__version__}."),
        element("script", Markup(SCRIPT)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(data: ReportData) -> Markup:
    facts = [
        element("div", element("dt", name), element("dd", text))
        for name, text in data.facts.items()
    ]
    return element(
        "header",
        element("p", "Run report", class_="kicker"),
        element("h1", data.title),
        element("dl", *facts, class_="facts") if facts else "",
    )


def _sections(data: ReportData) -> list[Markup]:
    config = (
        element(
            "details",
            element("summary", f"config.yaml, {len(data.config_yaml.splitlines())} lines"),
            element("pre", data.config_yaml.strip()),
        )
        if data.config_yaml.strip()
        else missing("The configuration was not recorded.")
    )
    return [
        _section(
            "Metrics",
            "Measured on classes that were not seen in training. Higher is better.",
            metrics_section(data),
        ),
        _section(
            "Training",
            "Means over neighbouring steps; the band runs from the lowest to the highest value.",
            curves_section(data.history),
        ),
        _section(
            "Retrieval",
            "Each query with its nearest images, nearest first, and their similarity. A full frame "
            "with ✓ is of the query's class, a dashed one with ✗ is not.",
            gallery_section(data.gallery),
        ),
        _section(
            "Attention",
            "One batch, ordered by class. Each row is a node that receives, each column a node "
            "that it listens to.",
            attention_section(data.attention),
        ),
        _section(
            "Descriptors",
            "Test descriptors in two dimensions: near ones were near before. Distances between "
            "groups mean little. The classes with the most images are coloured.",
            map_section(data.points),
        ),
        _section("Configuration", "Everything that the run was started with.", config),
    ]


def _section(title: str, lede: str, content: Markup) -> Markup:
    # Words on how to read a figure have no place beside a missing one.
    words = [] if isinstance(content, Missing) else [element("p", lede, class_="lede")]
    side = element("div", element("h2", title), *words)
    return element("section", side, element("div", content, class_="content"))

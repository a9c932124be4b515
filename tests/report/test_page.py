from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ibc_pyg.errors import RunError
from ibc_pyg.report import (
    AttentionMap,
    GalleryRow,
    MapPoints,
    Neighbour,
    ReportData,
    Thumb,
    write_report,
)

HOSTILE = [
    "\"><script>alert('1')</script>",
    "' onmouseover='alert(1)",
    "<img src=x onerror=alert(1)>",
    "</title></style></script><script>alert(1)</script>",
    "--><!-- &lt;b&gt; &#60;",
    "https://example.com/x.png url(https://example.com)",
    "\u202eright to left",
    "not Unicode: \udce9",
]
VOID = {"img", "meta", "source", "br"}
REFERENCES = {"src", "href", "srcset", "xlink:href", "action", "poster", "data", "background"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what a browser would fetch or run."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: dict[str, str] = {}
        self.ids: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in REFERENCES:
                self.references.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "style":
                assert "url(" not in value
            if name == "id":
                self.ids.append(value)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data


def full(names: list[str], title: str = "Glyphs") -> ReportData:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(names), 28, 28), dtype=np.uint8)
    rows = [
        GalleryRow(
            Thumb(pictures[i], names[i]),
            [
                Neighbour(pictures[j], names[j], similarity=0.5, correct=bool(i == j))
                for j in range(len(names))
            ],
        )
        for i in range(len(names))
    ]
    labels = np.arange(40) % len(names)
    weights = rng.dirichlet(np.ones(2 * len(names) + 1), (2, 2 * len(names))).astype(np.float32)
    return ReportData(
        title,
        facts={name: name for name in names},
        config_yaml="\n".join(names),
        summary={"R@1": 0.5, **dict.fromkeys(names, 0.25)},
        comparisons={name: {"R@1": 0.25} for name in names},
        history=[{"step": s, f"loss {names[0]}": 1 / s, "R@1": 0.1} for s in range(1, 500)],
        gallery=rows,
        attention=AttentionMap(
            weights[:, :, :-1], [name for name in names for _ in "ab"], weights[:, :, -1]
        ),
        points=MapPoints(
            rng.normal(size=(40, 2)).astype(np.float32), labels, names, {3: pictures[0]}
        ),
    )


def read(path) -> str:
    return path.read_text(encoding="utf-8")


def test_file_is_self_contained(tmp_path):
    path = write_report(full(["alpha", "beta", "gamma"]), tmp_path / "new" / "report.html")
    page = Page(read(path))
    assert page.references
    assert all(re.match(r"data:image/(png|jpeg);base64,", item) for item in page.references)
    assert not re.search(r"https?://|@import|url\(", read(path))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert page.handlers == []
    assert all(image.get("alt") for image in page.images)


def test_hostile_names_stay_text(tmp_path):
    path = write_report(full(HOSTILE, title=HOSTILE[3]), tmp_path / "report.html")
    page = Page(read(path))
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert page.handlers == []
    assert all(item.startswith("data:image/") for item in page.references)
    assert page.text["h1"] == HOSTILE[3]
    for name in HOSTILE:
        shown = name.replace("\udce9", r"\udce9").replace("\u202e", r"\u202e")
        for tag in ("dd", "dt", "pre", "th", "span"):
            assert shown in page.text[tag], (name, tag)


def test_policy_forbids_requests_and_allows_only_this_script(tmp_path):
    source = read(write_report(full(["a", "b"]), tmp_path / "report.html"))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', source)[1])
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"
    script = re.search(r"<script>(.*?)</script>", source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert directives["script-src"] == f"'sha256-{digest}'"


def test_empty_sections_are_explained_in_sentences(tmp_path):
    source = read(write_report(ReportData("Empty"), tmp_path / "report.html"))
    page = Page(source)
    assert source.count('class="missing"') == page.tags.count("section") == 6
    assert not {"svg", "img", "table", "figure", "details"} & set(page.tags)
    assert 'class="lede"' not in source


def test_page_has_phone_width_dark_mode_and_print_styles(tmp_path):
    source = read(write_report(ReportData("Any"), tmp_path / "report.html"))
    for wanted in (
        'name="viewport" content="width=device-width, initial-scale=1"',
        "@media (prefers-color-scheme: dark)",
        "@media (max-width: 640px)",
        "@media print",
        '<html lang="en">',
    ):
        assert wanted in source


def test_styles_are_balanced(tmp_path):
    source = read(write_report(ReportData("Any"), tmp_path / "report.html"))
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)[1]
    assert style.count("{") == style.count("}") > 50
    used = set(re.findall(r"var\((--[\w-]+)\)", style))
    defined = set(re.findall(r"(--[\w-]+):", style))
    assert used <= defined


def test_a_report_of_photographs_stays_light(tmp_path):
    rng = np.random.default_rng(0)
    base = np.linspace(0, 200, 256)[:, None, None] + np.zeros((256, 256, 3))
    photo = np.clip(base + rng.normal(0, 25, base.shape), 0, 255).astype(np.uint8)
    found = [Neighbour(photo, "shop", similarity=0.5, correct=True)] * 10
    data = ReportData("Photographs", gallery=[GalleryRow(Thumb(photo, "shop"), found)] * 10)
    assert write_report(data, tmp_path / "report.html").stat().st_size < 3_000_000


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        write_report(ReportData("Any"), tmp_path)

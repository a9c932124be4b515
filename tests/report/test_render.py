from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from ibc_pyg.report.render import render_page

# A parser normalises carriage returns and refuses NUL and surrogates, escaped or not.
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"))


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.labels: list[str | None] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "div":
            self.labels.append(dict(attrs)["aria-label"])

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def table(head: str, cell: str) -> Reader:
    tables = [{"head": [head], "rows": [[cell]]}]
    return Reader(
        render_page("comparison.html.j2", "t", tables=tables, plot="data:,", notes=["note"])
    )


def escaped(text: str) -> str:
    """Return a text with what a page would act on written as in a Python string."""
    keep = "\n\t\u00a0\u3000\u200c\u200d"
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


@settings(deadline=None)
@given(TEXT.map(lambda text: f"<{text}>"), TEXT.map(lambda text: f"{text}'\"&"))
def test_any_text_comes_back_as_text(head, cell):
    plain, hostile = table("x", "y"), table(head, cell)
    assert hostile.tags == plain.tags
    assert [text.strip() for text in hostile.cells] == [
        escaped(each).strip() for each in (head, cell)
    ]
    assert hostile.labels == [escaped(head)]

from __future__ import annotations

import html
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.report.markup import Markup, Missing, element, join, missing

# A parser normalises carriage returns and refuses NUL and surrogates, escaped or not.
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"))


class Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(TEXT, TEXT)
def test_any_text_comes_back_as_text(content, attribute):
    page = element("p", content, title=attribute)
    reader = Reader(page)
    assert reader.tags == [("p", {"title": attribute})]
    assert reader.text == content


def test_markup_is_not_escaped_twice():
    inner = element("b", "1 < 2 & 3")
    assert inner == "<b>1 &lt; 2 &amp; 3</b>"
    assert element("p", inner, "<") == f"<p>{inner}&lt;</p>"
    assert join("<", inner) == f"&lt;{inner}"
    assert isinstance(join("<"), Markup)


def test_attribute_names_and_values():
    written = element("img", class_="a", data_x=1, aria_hidden="true", alt="", hidden=None, x=0.5)
    assert written == '<img class="a" data-x="1" aria-hidden="true" alt="" x="0.5">'
    assert element("details", open=True) == "<details open></details>"
    assert element("details", open=False) == "<details></details>"
    assert element("meta", name="viewport") == '<meta name="viewport">'


def test_missing_is_a_marked_sentence():
    sentence = missing("None & nothing.")
    assert isinstance(sentence, Missing)
    assert html.unescape(Reader(sentence).text) == "None & nothing."

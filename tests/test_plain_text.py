"""Text that could act as markup is shown as it is: logs, sheets, Markdown."""

import csv
import io
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.errors import printable
from ibc_pyg.plain_text import LineFormatter, markdown_code, markdown_text, to_sheet

ACTS = "\x00\x07\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u202a\u202e\u2066\u2069\ufeff\udce9"


def read(sheet):
    return list(csv.reader(io.StringIO(sheet)))


@pytest.mark.parametrize("character", ACTS)
def test_characters_that_act_are_escaped(character):
    assert printable(f"ä{character}b") == f"ä{ascii(character)[1:-1]}b"
    assert printable(f"{character}", keep=character) == character


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    assert printable(text).isprintable()
    assert markdown_text(text).isprintable()
    assert len(markdown_code(text).splitlines()) == 1
    rows = read(to_sheet([[text, 1.5], ["next", 2]]))
    assert [len(row) for row in rows] == [2, 2]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\uff1d1+1", '=HYPERLINK("http://x","y")', "-x"]
)
def test_a_text_that_a_spreadsheet_would_evaluate_gets_an_apostrophe(text):
    assert read(to_sheet([[text, 0.5]])) == [[f"'{text}", "0.5"]]


@pytest.mark.parametrize("text", ["\t=1+1", "\r=1+1", "\n=1+1"])
def test_a_formula_behind_white_space_begins_with_an_escape(text):
    assert read(to_sheet([[text]])) == [[ascii(text)[1:-1]]]


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+3", "-1e-3", -7, "-inf", "val/R@1", "a=b"])
def test_numbers_and_other_texts_stay(value):
    assert read(to_sheet([[value]])) == [[str(value)]]


def test_markdown_shows_the_characters_of_a_text():
    assert markdown_text("a|b`c`\n<b> [x](y) $z$ val_fold=0") == (
        r"a\|b\`c\`\\n\<b\> \[x\](y) \$z\$ val_fold=0"
    )
    assert markdown_text("- plain: trial 0, 65.0 ± 1") == "- plain: trial 0, 65.0 ± 1"


@given(st.text(alphabet="a`| ", min_size=1))
def test_a_code_span_ends_where_it_should(text):
    """By the rules of CommonMark, section 6.1."""
    span = markdown_code(text)
    fence = re.match("`+", span)[0]
    inner = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert fence not in re.findall("`+", inner)
    assert inner in (text, f" {text} ")


def test_a_log_record_is_one_line_and_a_traceback_keeps_its_lines():
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "%s", ("a\x1b[31m\nERROR: b",), None)
    formatter = LineFormatter("%(levelname)s: %(message)s")
    assert formatter.format(record) == r"WARNING: a\x1b[31m\nERROR: b"
    try:
        raise ValueError("a\x1b[31m")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    first, *rest = formatter.format(record).splitlines()
    assert first.startswith("WARNING: ")
    assert rest[-1] == r"ValueError: a\x1b[31m"

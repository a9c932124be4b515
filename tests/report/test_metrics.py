from __future__ import annotations

import math
import re

import pytest

from ibc_pyg.report import ReportData
from ibc_pyg.report.metrics import format_metric, metrics_view
from ibc_pyg.report.page import render

SUMMARY = {"R@1": 0.7312, "R@2": 0.8, "MAP@R": 0.361, "RP": 0.418, "NMI": 0.871}


def test_headline_metrics_are_shown_beside_the_floor():
    data = ReportData("t", summary=SUMMARY, comparisons={"raw pixels": {"R@1": 0.234}})
    page = render(data)
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["R@1", "MAP@R", "RP", "NMI"]
    assert 'class="value">73.1<' in page
    assert "width:73.1%" in page
    assert "left:23.4%" in page
    assert page.count("raw pixels: 23.4") == 1, "a floor is shown only where it was measured"


def test_table_has_a_row_for_each_comparison_and_dashes_for_gaps():
    data = ReportData(
        "t", summary=SUMMARY, comparisons={"raw pixels": {"R@1": 0.234}, "steps 0": {"NMI": 0.5}}
    )
    rows = re.findall(r"<tr>(.*?)</tr>", render(data))
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert cells == [
        ["", "R@1", "R@2", "MAP@R", "RP", "NMI"],
        ["this run", "73.1", "80.0", "36.1", "41.8", "87.1"],
        ["raw pixels", "23.4", "–", "–", "–", "–"],  # noqa: RUF001
        ["steps 0", "–", "–", "–", "–", "50.0"],  # noqa: RUF001
    ]


def test_unknown_metrics_become_the_headlines_if_there_are_no_others():
    page = render(ReportData("t", summary={"R@10": 0.9, "loss": 3.25}))
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["R@10", "loss"]
    assert 'class="value">3.25<' in page


def test_no_finite_metric_no_section():
    assert metrics_view(ReportData("t")) is None
    assert metrics_view(ReportData("t", summary={"R@1": math.nan})) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0.0"), (1.0, "100.0"), (0.12345, "12.3"), (12.3456, "12.35"), (-0.5, "-0.5")],
)
def test_format_metric(value, expected):
    assert format_metric(value) == expected

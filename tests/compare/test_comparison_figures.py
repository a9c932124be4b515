"""Figures of a comparison: their files, and what is drawn in them."""

import pytest
from PIL import Image

from ibc_pyg.compare.curves import CurvePoint
from ibc_pyg.compare.figures import draw_curves, draw_forest, draw_means, write_figure
from ibc_pyg.compare.rows import Comparison, make_rows
from ibc_pyg.runs.environment import environment
from tests.helpers.comparison import HOSTILE, Setting, summaries


def comparison(labels=None, **results):
    rows = make_rows({Setting(name): each for name, each in results.items()}, labels=labels)
    return Comparison(rows, "x", environment())


def test_a_forest_has_the_differences_and_their_intervals():
    found = comparison(a=summaries([0.6, 0.7, 0.8]), b=summaries([0.65, 0.72, 0.81]))
    figure = draw_forest(found)
    panel = figure.axes[0]
    assert panel.get_title() == "R@1"
    difference = found.rows[1].differences["R@1"]
    (bar,) = panel.containers
    assert bar.lines[0].get_xdata() == pytest.approx([100 * difference.mean])
    ends = [cap.get_xdata()[0] for cap in bar.lines[1]]
    assert ends == pytest.approx([100 * difference.low, 100 * difference.high])
    assert [text.get_text() for text in panel.get_yticklabels()] == ["b"]


def test_without_a_second_row_there_is_no_forest(tmp_path):
    found = comparison(a=summaries([0.6, 0.7]))
    assert write_figure(lambda: draw_forest(found), tmp_path / "forest") == []
    assert list(tmp_path.iterdir()) == []


def test_means_are_drawn_within_the_range_of_the_metric():
    figure = draw_means(comparison(a=summaries([0.1, 0.9]), b=summaries([1.0, 1.0])))
    low, high = figure.axes[0].get_xlim()
    assert -1 <= low < 50
    assert 100 < high <= 101


def test_curves_with_their_mean_at_common_steps(tmp_path):
    points = [
        CurvePoint("_own", seed, step, "val/R@1", seed + step / 10)
        for seed, steps in ((0, (1, 2, 3)), (1, (1, 3)))
        for step in steps
    ]
    points += [
        CurvePoint(HOSTILE, 0, 1, "val/R@1", 0.5),
        CurvePoint(HOSTILE, 0, 1, "train/loss", 2),
    ]
    figure = draw_curves(points, {"_own": "own"})
    assert [axis.get_title() for axis in figure.axes] == ["val/R@1", "train/loss"]
    thin, thin_too, mean, *_ = figure.axes[0].get_lines()
    assert list(mean.get_xdata()) == [1, 3]
    assert list(mean.get_ydata()) == pytest.approx([0.6, 0.8])
    assert (list(thin.get_xdata()), list(thin_too.get_xdata())) == ([1, 2, 3], [1, 3])
    lone = figure.axes[0].get_lines()[-1]
    assert (len(lone.get_xdata()), lone.get_marker()) == (1, "o"), "a single point is seen"
    assert figure.legends[0].get_texts()[0].get_text() == " own"
    paths = write_figure(lambda: draw_curves(points, {}), tmp_path / "curves")
    assert [path.name for path in paths] == ["curves.pdf", "curves.png"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    with Image.open(paths[1]) as picture:
        assert picture.format == "PNG"


def test_long_curves_are_lines_without_marks():
    points = [CurvePoint("own", 0, step, "train/loss", step) for step in range(100)]
    assert {line.get_marker() for line in draw_curves(points, {}).axes[0].get_lines()} == {""}


def test_no_curves_no_figure(tmp_path):
    assert write_figure(lambda: draw_curves([], {}), tmp_path / "curves") == []


def test_a_figure_that_cannot_be_drawn_is_left_out(tmp_path, caplog):
    def broken():
        raise ValueError("no\nfigure")

    assert write_figure(broken, tmp_path / "forest") == []
    assert "forest is not drawn: no figure" in caplog.text

"""The table of a comparison in its four formats."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from ibc_pyg.compare.grid import make_grid
from ibc_pyg.compare.rows import Comparison, make_rows, parse_labels
from ibc_pyg.compare.table import to_markdown, write_tables
from ibc_pyg.errors import ConfigError, printable
from ibc_pyg.runs.environment import environment
from tests.helpers.comparison import HOSTILE, Setting, summaries


@pytest.fixture
def comparison():
    cells = make_grid(["model.conv=GATConv,<b>"])
    results = dict(zip(cells, [summaries([0.6, 0.7]), summaries([0.7, 0.8])], strict=True))
    return Comparison(make_rows(results), "python run.py compare x", environment(), floor=0.25)


def test_rows(comparison):
    first, second = comparison.rows
    assert first.metrics["R@1"].mean == pytest.approx(0.65)
    assert not first.differences
    assert second.differences["R@1"].mean == pytest.approx(0.1)
    assert second.differences["R@1"].half_width == pytest.approx(0, abs=1e-9)
    assert second.seeds == (0, 1)
    assert "RP" not in first.metrics


def test_formats_agree(comparison, tmp_path):
    write_tables(comparison, tmp_path)
    markdown = (tmp_path / "table.md").read_text()
    assert "| conv=GATConv | 65.0 ±" in markdown
    assert "+10.0 ± 0.0" in markdown
    assert "R@1 25.0" in markdown
    assert "python run.py compare x" in markdown
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[3]["mean"]) == pytest.approx(0.75)
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["rows"][1]["metrics"]["R@1"]["mean"] == pytest.approx(0.75)


def test_size_and_work_of_each_row(tmp_path):
    cost = {"trainable_parameters": 4_288, "multiply_adds": 1_234_567_890, "graph_layer": None}
    results = {Setting("new"): summaries([0.6], cost), Setting("of 0.1.0"): summaries([0.5])}
    write_tables(Comparison(make_rows(results), "x", environment()), tmp_path)
    new, old = (line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()[2:4])
    assert (new[-3:-1], old[-3:-1]) == (["0.004 M", "1,234.6 M"], ["", ""])
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["trainable_parameters"] == "4288"
    assert rows[0]["multiply_adds"] == "1234567890"
    assert rows[-1]["trainable_parameters"] == ""
    assert "1,234.6 M" in (tmp_path / "table.html").read_text()


def test_html_is_self_contained_and_escaped(comparison, tmp_path):
    write_tables(comparison, tmp_path)
    page = (tmp_path / "table.html").read_text()
    assert "conv=<b>" not in page
    assert "conv=&lt;b&gt;" in page
    sources = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            sources.extend(value for name, value in attributes if name in ("src", "href"))

    Parser().feed(page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)


@pytest.fixture
def hostile():
    names = [HOSTILE, "=1+1", "-0.5"]
    results = {Setting(name): summaries([0.6, 0.7]) for name in names}
    rows = make_rows(results, pairs=[("=1+1", HOSTILE)])
    return Comparison(rows, f"run.py `{HOSTILE}`", environment(), notes=[f"note {HOSTILE}"])


def test_names_are_text_in_every_format(hostile, tmp_path):
    assert len(write_tables(hostile, tmp_path)) == 7
    markdown = (tmp_path / "table.md").read_text()
    assert r"| \$x\_{ \|\`\<b\> \\u202e\\x1b\[31m\\udce9\\n | 65.0 ±" in markdown
    assert len({row.replace(r"\|", "").count("|") for row in markdown.splitlines()[:5]}) == 1
    with (tmp_path / "table.csv").open() as file:
        settings = {row["setting"] for row in csv.DictReader(file)}
    assert settings == {printable(HOSTILE), "'=1+1", "-0.5"}
    page = (tmp_path / "table.html").read_text()
    assert "data:image/png;base64," in page
    assert "$x_{ |`&lt;b&gt;" in page
    for text in (markdown, page):
        assert not set("\u202e\x1b\udce9") & set(text)
    assert json.loads((tmp_path / "table.json").read_text())["rows"][0]["name"] == HOSTILE


def test_a_plot_that_cannot_be_drawn_costs_the_plot_alone(
    comparison, tmp_path, monkeypatch, caplog
):
    def broken(*arguments, **options):
        raise ValueError("no\nplot")

    monkeypatch.setattr(Figure, "savefig", broken)
    assert all(path.is_file() for path in write_tables(comparison, tmp_path))
    page = (tmp_path / "table.html").read_text()
    assert "conv=GATConv" in page
    assert "<img" not in page
    assert "table.html has no plot" in caplog.text


def test_the_values_of_each_seed_are_written(tmp_path):
    results = {Setting("a"): summaries([0.6, 0.7]), Setting("b"): summaries([0.5])}
    write_tables(Comparison(make_rows(results), "x", environment()), tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "R@1"]
    assert [(row["seed_0"], row["seed_1"]) for row in rows] == [("0.6", "0.7"), ("0.5", "")]
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["rows"][0]["values"]["R@1"] == [0.6, 0.7]
    assert document["rows"][0]["seeds"] == [0, 1]


def test_single_runs_and_single_rows_have_no_words_about_intervals_and_tests():
    one = to_markdown(Comparison(make_rows({Setting("a"): summaries([0.6])}), "x", environment()))
    assert "one run for each setting" in one
    two = {Setting("a"): summaries([0.6]), Setting("b"): summaries([0.5])}
    both = to_markdown(Comparison(make_rows(two), "x", environment()))
    assert "R@1 against" in both
    seeds = {Setting("a"): summaries([0.6, 0.7])}
    several = to_markdown(Comparison(make_rows(seeds), "x", environment()))
    assert "95 % interval" in several
    for text in (one, several):
        assert "against" not in text
        assert "paired" not in text
    assert "±" not in one + both


def test_what_follows_the_mean(tmp_path):
    rows = make_rows({Setting("a"): summaries([0.6, 0.7, 0.8])})
    texts = {show: to_markdown(Comparison(rows, "x", environment(), show=show))
             for show in ("ci", "sd", "se")}  # fmt: skip
    assert "70.0 ± 24.8" in texts["ci"]
    assert "70.0 ± 10.0" in texts["sd"]
    assert "the standard deviation" in texts["sd"]
    assert "70.0 ± 5.8" in texts["se"]


def test_tests_are_corrected_for_all_differences_of_a_metric():
    drawn = np.random.default_rng(0).normal(0.7, 0.02, (4, 5))
    results = {Setting(f"s{at}"): summaries(values.tolist()) for at, values in enumerate(drawn)}
    # A pair with the reference is a difference that is in the table already.
    rows = make_rows(results, pairs=[("s3", "s1"), ("s2", "s0")])
    assert rows[2].pairs["s0"] == rows[2].differences
    found = [row.differences["R@1"] for row in rows[1:]] + [rows[3].pairs["s1"]["R@1"]]
    least = min(found, key=lambda each: each.p)
    assert least.p_holm == pytest.approx(min(1.0, 4 * least.p))
    assert all(each.p_holm >= each.p for each in found)
    assert f"p {found[0].p_holm:.3f}" in to_markdown(Comparison(rows, "x", environment()))


def test_labels_replace_names_where_rows_are_shown(tmp_path):
    results = {Setting("steps=1"): summaries([0.6]), Setting("steps=0"): summaries([0.5])}
    labels = parse_labels(["steps=0=No messages", "steps=1=Ours"], ["steps=1", "steps=0"])
    rows = make_rows(results, labels=labels)
    write_tables(Comparison(rows, "x", environment(), reference="steps=1"), tmp_path)
    for name in ("table.md", "table.tex", "table.html"):
        text = (tmp_path / name).read_text()
        assert "No messages" in text
        assert "steps=0" not in text
    assert "against Ours" in (tmp_path / "table.md").read_text()
    with (tmp_path / "table.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["setting"], row["label"]) == ("steps=1", "Ours")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("steps=2=x", "did you mean steps=1"),
        ("steps=1=", "has no text"),
        ("steps=1=steps=0", "two rows would be named 'steps=0'"),
    ],
)
def test_labels_that_name_nothing(given, says):
    with pytest.raises(ConfigError, match=says):
        parse_labels([given], ["steps=1", "steps=0"])


def test_own_metrics_are_columns_in_their_own_unit(tmp_path):
    a, b = summaries([0.6, 0.7]), summaries([0.6, 0.8])
    results = {
        Setting("a"): [one | {"own/spread": 31.25} for one in a],
        Setting("b"): [one | {"own/spread": 40.0} for one in b],
        Setting("c"): summaries([0.5, 0.5]),
    }
    comparison = Comparison(make_rows(results), "x", environment())
    write_tables(comparison, tmp_path)
    assert comparison.metrics[-1] == "own/spread"
    assert comparison.rows[1].differences["own/spread"].mean == pytest.approx(8.75)
    markdown = (tmp_path / "table.md").read_text()
    assert "| 31.25 ± 0 |" in markdown
    assert "| 40 ± 0 |" in markdown
    assert "own/spread" in (tmp_path / "table.html").read_text()
    assert r"$31.25 \pm 0$" in (tmp_path / "table.tex").read_text()
    assert "own/spread" not in comparison.headlines  # figures have percent on their axes

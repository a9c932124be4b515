"""The LaTeX table: as many cells in each line as columns, and no markup in names."""

import re

import pytest

from ibc_pyg.compare.latex import escape, to_latex
from ibc_pyg.compare.rows import Comparison, make_rows
from ibc_pyg.runs.environment import environment
from tests.helpers.comparison import HOSTILE, Setting, summaries

COST = {"trainable_parameters": 4_288, "multiply_adds": 1_234_567_890}


def lines_of(results, **options):
    rows = make_rows({Setting(name): found for name, found in results.items()}, **options)
    return to_latex(Comparison(rows, f"run.py {HOSTILE}", environment())).splitlines()


def test_a_booktabs_table():
    lines = lines_of({"a_b": summaries([0.6, 0.7], COST), "c": summaries([0.71, 0.79], COST)})
    body = [line for line in lines if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrrrrrrr}"
    assert [body[1], body[3], body[-2], body[-1]] == [
        r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    rows = [body[2], *body[4:-2]]
    assert len(rows) == 3
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == 7
    assert rows[1].startswith(r"a\_b & $65.0 \pm 63.5$ & ")
    assert r"& $+10.0 \pm " in rows[2]
    assert rows[2].endswith(r" & 0.004\,M & 1234.6\,M \\")


@pytest.mark.parametrize("name", [HOSTILE, "50 % & #1 {x}^2_~\\", "[b]", "straße 汉字", "% end"])
def test_names_are_text(name):
    (line,) = [each for each in lines_of({name: summaries([0.5])}) if each.startswith(escape(name))]
    assert line.isascii()
    # Without the escapes no character of LaTeX is left, and braces are balanced.
    plain = re.sub(r"\\text\w+\{\}|\{[\[\]]\}|\\[&%$#_{}]", "", escape(name))
    assert not set(plain) & set("\\&%$#_{}~^[]<>|")
    assert plain.isprintable()


def test_one_seed_has_no_spread_and_no_test():
    lines = lines_of({"a": summaries([0.6]), "b": summaries([0.7])})
    assert any("$+10.0$ &  " in line or "$+10.0$ & \\" in line for line in lines)

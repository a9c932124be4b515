"""Table of a comparison in LaTeX, with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from ibc_pyg.compare.rows import Comparison, Row
from ibc_pyg.compare.statistics import Estimate
from ibc_pyg.errors import printable
from ibc_pyg.metrics.names import OWN

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # at the beginning of a row it would be an option of the line break before it
    "]": "{]}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
}


def to_latex(comparison: Comparison) -> str:
    """Return a `tabular`, to be included in a document with the package booktabs.

    It is in percent, own metrics as they are.
    """
    names = comparison.metrics
    different = comparison.has_differences
    sized = any(row.parameters is not None for row in comparison.rows)
    head = ["setting", *map(escape, names)]
    if different:
        head += [r"$\Delta$ R@1", "$p$"]
    if sized:
        head += ["parameters", "multiply-adds"]
    lines = [
        f"% {_comment(comparison.command)}",
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        _line(head),
        r"\midrule",
    ]
    for row in comparison.rows:
        cells = [escape(row.text)]
        cells += [
            _value(name, row.metrics[name], row.metrics[name].spread(comparison.show))
            if name in row.metrics
            else ""
            for name in names
        ]
        if different:
            cells += _difference(row)
        if sized:
            cells += [_millions(row.parameters, 3), _millions(row.multiply_adds, 1)]
        lines.append(_line(cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """Return a text on one line without markup; letters beyond ASCII are written as escapes."""
    shown = "".join(each if each.isascii() else ascii(each)[1:-1] for each in printable(text))
    return "".join(_SPECIAL.get(each, each) for each in shown)


def _comment(text: str) -> str:
    return "".join(each if each.isascii() else "?" for each in printable(text))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(name: str, value: Estimate, spread: float | None, sign: str = "") -> str:
    """Return a mean and its spread: in percent, an own metric as it is."""
    scale, form = (1, ".4g") if name.startswith(OWN) else (100, ".1f")
    mean = f"{scale * value.mean:{sign}{form}}"
    return f"${mean}$" if spread is None else rf"${mean} \pm {scale * spread:{form}}$"


def _difference(row: Row) -> list[str]:
    found = row.differences.get("R@1")
    if found is None:
        return ["", ""]
    p = "" if found.p_holm is None else f"${found.p_holm:.3f}$"
    if found.p_holm is not None and found.p_holm < 0.001:
        p = "$<0.001$"
    return [_value("R@1", found, found.half_width, "+"), p]


def _millions(count: int | None, digits: int) -> str:
    return "" if count is None else f"{count / 1e6:.{digits}f}\\,M"

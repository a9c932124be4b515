"""Write a script in percent format, with cells that begin with `# %%`, as a notebook.

python examples/notebook.py examples/first_hour.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def cells(text: str) -> list[tuple[str, str]]:
    """Return kind, `markdown` or `code`, and text of each cell."""
    found = []
    for part in text.split("# %%")[1:]:
        head, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        lines = body.strip().splitlines()
        if kind == "markdown":
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        found.append((kind, "\n".join(line.replace("  # noqa: E402", "") for line in lines)))
    return found


def notebook(text: str) -> dict[str, object]:
    """Return the cells of a script as a notebook in the format 4.5, without outputs."""
    made: list[dict[str, object]] = []
    for number, (kind, source) in enumerate(cells(text)):
        cell: dict[str, object] = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def main(script: Path) -> None:
    """Write the notebook beside the script."""
    path = script.with_suffix(".ipynb")
    path.write_text(json.dumps(notebook(script.read_text()), indent=1) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Tables and example of docs/layers.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.specs import SPECS, UNSUPPORTED

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "layers.md"


def table(heading: str) -> dict[str, str]:
    """Return the first two columns of the table under a heading, as a mapping."""
    _, _, section = DOCUMENT.read_text().partition(f"## {heading}\n")
    section, _, _ = section.partition("\n## ")
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|$", section, flags=re.MULTILINE))


def test_layers_that_work() -> None:
    assert set(table("Layers that work")) == set(SPECS)


def test_layers_that_are_refused_and_why() -> None:
    assert table("Layers that are refused") == dict(UNSUPPORTED)


def test_the_example_runs(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    assert example is not None
    file = tmp_path / "my_layer.py"
    file.write_text(example.group(1))
    assert make_conv(f"{file}:MeanConv", 8)(torch.randn(3, 8)).shape == (3, 8)

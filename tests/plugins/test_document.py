"""The page docs/plugins.md."""

import re
from pathlib import Path

from ibc_pyg.cli import run
from ibc_pyg.plugins import KINDS, protocols
from tests.helpers.digits_run import OPTIONS
from tests.helpers.plugs import EXAMPLES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_the_table_lists_every_kind_with_fields_and_example():
    rows = re.findall(r"^\| ([\w ]+) \| `(\S+)` \| (?:`(\S+)`)? *\| .*/(\w+\.py)\) \|$", PAGE, re.M)
    assert [row[:3] for row in rows] == [(k.name, k.field, k.args) for k in KINDS.values()]
    assert {row[3] for row in rows} == {file.name for file in EXAMPLES.glob("*.py")}


def test_links_lead_to_files():
    docs = EXAMPLES.parents[1] / "docs"
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", PAGE)
    assert len(links) > 15
    assert [link for link in links if not (docs / link).is_file()] == []


def test_there_is_a_protocol_for_every_kind_but_the_layer():
    found = [each for each in vars(protocols).values() if getattr(each, "_is_protocol", False)]
    own = [each for each in found if each.__module__ == protocols.__name__]
    assert len(own) == len(KINDS) - 1


def test_the_layer_of_the_ablation_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(import torch\n.*?class CosineGATConv.*?)```", PAGE, re.S)
    Path("my_gat.py").write_text(code)
    Path("digits.yaml").write_text("select: last\n")
    words = [
        "digits.yaml",
        *OPTIONS,
        "--model.conv",
        "my_gat.py:CosineGATConv",
        "--train.epochs",
        "1",
    ]
    assert run(["train", *words, "--out", "run"]) == 0
    assert Path("run/summary.json").is_file()

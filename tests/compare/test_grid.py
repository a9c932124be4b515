"""Which runs a comparison is made of."""

import pytest

from ibc_pyg.compare.grid import make_grid
from ibc_pyg.errors import ConfigError


def test_product_in_order():
    cells = make_grid(["model.steps=0,1", "train.lr=1e-3,2e-3"])
    assert [cell.name for cell in cells] == [
        "steps=0 lr=1e-3", "steps=0 lr=2e-3", "steps=1 lr=1e-3", "steps=1 lr=2e-3",
    ]  # fmt: skip
    assert cells[2].overrides == ["--model.steps", "1", "--train.lr", "1e-3"]


def test_commas_within_brackets_do_not_divide():
    cells = make_grid(["train.lr_milestones=[1,2],[3]", "model.conv_args={a: 1, b: 2}"])
    assert [dict(cell.values)["train.lr_milestones"] for cell in cells] == ["[1,2]", "[3]"]
    assert dict(cells[0].values)["model.conv_args"] == "{a: 1, b: 2}"


def test_nothing_varied_is_one_run():
    assert [cell.folder for cell in make_grid([])] == ["as-is"]


@pytest.mark.parametrize("text", ["model.steps", "=1,2", "model.steps=", "model.steps=1,,2"])
def test_malformed(text):
    with pytest.raises(ConfigError, match="must read FIELD=VALUE"):
        make_grid([text])


def test_a_value_twice():
    with pytest.raises(ConfigError, match="twice"):
        make_grid(["model.steps=1,1"])


def test_folders_are_safe_and_distinct():
    cells = make_grid(["model.conv=../evil,file.py:Class"])
    assert all("/" not in cell.folder and ":" not in cell.folder for cell in cells)
    with pytest.raises(ConfigError, match="same name"):
        make_grid(["model.conv=a/b,a:b"])


def test_layers_are_rows_of_their_own(tmp_path):
    layer = tmp_path / "no_graph.yaml"
    layer.write_text("model: {steps: 0}")
    cells = make_grid(["train.lr=1e-3,2e-3"], [layer])
    assert [cell.name for cell in cells] == [
        "lr=1e-3", "lr=2e-3", "no_graph lr=1e-3", "no_graph lr=2e-3",
    ]  # fmt: skip
    assert cells[2].overrides == ["--config", str(layer), "--train.lr", "1e-3"]
    assert [cell.name for cell in make_grid([], [layer])] == ["as-is", "no_graph"]
    with pytest.raises(ConfigError, match=r"--layers: .* is not a file"):
        make_grid([], [tmp_path / "none.yaml"])
    with pytest.raises(ConfigError, match="same name"):
        make_grid([], [layer, layer])

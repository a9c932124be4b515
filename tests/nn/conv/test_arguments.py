"""Widths of user classes that derive from layers of PyG, and the record of what was supplied."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.factory import make_conv

CHANNELS = 24
SOURCE = """
from torch import nn
from torch_geometric.nn import GATConv, GCN2Conv, GENConv, GINConv, SAGEConv
from ibc_pyg.nn.conv.intra_batch_conv import IntraBatchConv

class Same(GATConv):
    pass

class Open(GATConv):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(in_channels, out_channels, **kwargs)

class Rest(GATConv):
    def __init__(self, *args, slope=0.1, **kwargs):
        super().__init__(*args, negative_slope=slope, **kwargs)

class OwnHeads(GATConv):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(in_channels, out_channels, heads=3, **kwargs)

class Averaged(GATConv):
    def __init__(self, in_channels, out_channels, heads=1, **kwargs):
        super().__init__(in_channels, out_channels, heads, concat=False, **kwargs)

class Sage(SAGEConv):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)

class Gin(GINConv):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__(nn.Linear(in_channels, out_channels), **kwargs)

class Gcn2(GCN2Conv):
    pass

class Gen(GENConv):
    pass

class Anything(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.given = kwargs
        self.lin = nn.Linear(kwargs["in_channels"], kwargs["out_channels"])
    def forward(self, x, edge_index):
        return self.lin(x)

class Intra(IntraBatchConv):
    def __init__(self, in_channels, out_channels, heads=1):
        super().__init__(in_channels, out_channels, heads)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return path


def size(layer: nn.Module) -> int:
    return sum(each.numel() for each in layer.parameters())


@pytest.mark.parametrize("name", ["Same", "Open", "Rest"])
@pytest.mark.parametrize("args", [{}, {"concat": False}, {"heads": 2}])
def test_a_subclass_has_the_parameters_of_its_parent(file: Path, name: str, args: dict) -> None:
    built_in = make_conv("GATConv", CHANNELS, heads=4, dropout=0.2, conv_args=args)
    own = make_conv(f"{file}:{name}", CHANNELS, heads=4, dropout=0.2, conv_args=args)
    assert size(own) == size(built_in)
    assert (own.conv.heads, own.conv.concat, own.conv.out_channels, own.conv.dropout) == (
        built_in.conv.heads, built_in.conv.concat, built_in.conv.out_channels, 0.2,
    )  # fmt: skip
    assert isinstance(own.lin_out, nn.Identity)
    assert own(torch.randn(5, CHANNELS)).shape == (5, CHANNELS)


@pytest.mark.parametrize(("name", "heads", "width"), [("OwnHeads", 3, 8), ("Averaged", 4, 24)])
def test_what_a_class_sets_itself_counts(file: Path, name: str, heads: int, width: int) -> None:
    own = make_conv(f"{file}:{name}", CHANNELS, heads=4)
    assert (own.conv.heads, own.conv.out_channels) == (heads, width)
    assert isinstance(own.lin_out, nn.Identity)


@pytest.mark.parametrize("name", ["Sage", "Gin", "Gcn2", "Gen", "Anything"])
def test_other_parents(file: Path, name: str) -> None:
    own = make_conv(f"{file}:{name}", CHANNELS, heads=4)
    assert own(torch.randn(5, CHANNELS)).shape == (5, CHANNELS)
    assert isinstance(own.lin_out, nn.Identity)
    if name == "Gcn2":
        assert own.conv.alpha == 0.1  # as of its parent
        assert own.inputs.initial_features


def test_arguments_given_by_the_user_win(file: Path) -> None:
    own = make_conv(f"{file}:OwnHeads", CHANNELS, conv_args={"out_channels": 5})
    assert own.conv.out_channels == 5
    assert own.lin_out.in_features == 15
    with pytest.raises(ConfigError, match="multiple values"):
        make_conv(f"{file}:OwnHeads", CHANNELS, conv_args={"heads": 2})
    with pytest.raises(ConfigError, match=r"Open has no argument 'slop'; did you mean"):
        make_conv(f"{file}:Open", CHANNELS, conv_args={"slop": 0.1})
    assert make_conv(f"{file}:Anything", CHANNELS, conv_args={"any": 1}).conv.given["any"] == 1


def test_a_subclass_of_the_layer_of_the_method(file: Path) -> None:
    own = make_conv(f"{file}:Intra", CHANNELS, heads=4)
    assert own.heads == 4
    assert str(own.construction).endswith(
        "Intra(in_channels=24, out_channels=24, heads=4), no linear layer appended"
    )


def test_the_record_names_what_was_supplied_and_appended(file: Path) -> None:
    made = make_conv(f"{file}:Open", CHANNELS, heads=5, conv_args={"bias": False}).construction
    assert made.arguments == {
        "in_channels": "24", "out_channels": "4", "heads": "5", "dropout": "0.0", "bias": "False",
    }  # fmt: skip
    assert made.appended == "a linear layer 20 -> 24"
    assert str(made).endswith("out_channels=4), a linear layer 20 -> 24 appended")
    assert make_conv("GINConv", CHANNELS).construction.arguments["nn"] == "Sequential"

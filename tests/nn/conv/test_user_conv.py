"""User-defined graph layers, from a file or a dotted path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.factory import make_conv

CHANNELS = 24
SOURCE = """
import torch
from torch_geometric.nn import MessagePassing


class MeanConv(MessagePassing):
    def __init__(self, in_channels, out_channels, scale=1.0):
        super().__init__(aggr="mean")
        self.lin = torch.nn.Linear(in_channels, 2 * out_channels)
        self.scale = scale

    def forward(self, x, edge_index, edge_weight=None):
        return self.propagate(edge_index, x=self.lin(x), edge_weight=edge_weight)

    def message(self, x_j, edge_weight=None):
        return self.scale * (x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j)


class Pool(torch.nn.Module):
    def forward(self, x, edge_index):
        return x.mean(0)


class Needy(torch.nn.Module):
    def __init__(self, in_channels, out_channels, depth):
        super().__init__()
"""


def test_layer_from_a_file(tmp_path: Path) -> None:
    """The class is twice as wide as requested and takes an argument and edge weights."""
    file = tmp_path / "own.py"
    file.write_text(SOURCE)
    conv = make_conv(f"{file}:MeanConv", CHANNELS, conv_args={"scale": 2.0})
    x = torch.randn(4, CHANNELS)
    assert conv(x).shape == (4, CHANNELS)
    assert conv(torch.randn(2, 3, CHANNELS)).shape == (2, 3, CHANNELS)
    mean = 2.0 * conv.conv.lin(x).mean(0)
    torch.testing.assert_close(conv(x)[0], conv.lin_out(mean), atol=1e-6, rtol=1e-5)
    assert not conv(x, edge_weight=torch.zeros(4, 4)).sub(conv.lin_out.bias).any()
    conv(x).square().mean().backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())
    assert make_conv(f"{file}:MeanConv", CHANNELS).conv.scale == 1.0
    for name, words in (
        ("Pool", "one embedding per node"),
        ("Needy", "'depth'"),
        ("Gone", "no 'Gone'"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_conv(f"{file}:{name}", CHANNELS)


def test_file_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("raise RuntimeError('boom')")
    with pytest.raises(ConfigError, match="RuntimeError: boom"):
        make_conv(f"{file}:Layer", CHANNELS)


def test_user_class_by_dotted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user_layers_of_a_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    conv = make_conv("user_layers_of_a_test.MeanConv", CHANNELS)
    assert conv(torch.randn(3, CHANNELS)).shape == (3, CHANNELS)

"""Layers that a process can compute for its own nodes alone."""

import pytest
import torch

from ibc_pyg.errors import ConfigError
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.spanning import check_spanning, spans_processes


@pytest.mark.parametrize(
    ("conv", "spans"),
    [
        ("IntraBatchConv", True), ("none", True), ("GATConv", True), ("SAGEConv", True),
        ("PNAConv", True),
        # The degree of a sender; two edges far; statistics over all nodes.
        ("GCNConv", False), ("APPNP", False), ("GENConv", False),
    ],
)  # fmt: skip
def test_which_layers_span_processes(conv, spans):
    state = torch.get_rng_state()
    layer = make_conv(conv, 8, heads=2, dropout=0.5)
    torch.set_rng_state(state)
    assert spans_processes(layer, 8) is spans
    assert torch.equal(torch.get_rng_state(), state)
    mpn = MPN(8, 1, heads=2, conv=conv)
    if spans:
        check_spanning(mpn)
    else:
        with pytest.raises(ConfigError, match=f"{conv} cannot span several processes"):
            check_spanning(mpn)

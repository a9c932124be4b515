"""`CompleteTransformerConv` with scores in cache, and with flash attention."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import TransformerConv

from ibc_pyg.nn.conv.fused import fuse, transformer_conv


@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("nodes", [1, 2, 19])
def test_both_paths_agree(nodes: int, self_loops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = fuse(TransformerConv(6, 4, heads=2), self_loops=self_loops)
    x = torch.randn(3, nodes, 6, requires_grad=True)

    def run() -> tuple[torch.Tensor, ...]:
        out = twin(x)
        wanted = [x, *twin.parameters()]
        # A single node has no sender: its query and key have no gradient.
        return out, *torch.autograd.grad(out.square().sum(), wanted, materialize_grads=True)

    in_cache = run()
    monkeypatch.setattr(transformer_conv, "_CACHED_SCORES_BYTES", 0)
    torch.testing.assert_close(run(), in_cache, atol=1e-5, rtol=1e-5)


def test_flash_attention_drops_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all values one, an output is the sum of the weights that are kept."""
    monkeypatch.setattr(transformer_conv, "_CACHED_SCORES_BYTES", 0)
    twin = fuse(TransformerConv(4, 4, dropout=0.3, root_weight=False))
    with torch.no_grad():
        twin.lin_value.weight.zero_()
        twin.lin_value.bias.fill_(1.0)
    kept = twin(torch.randn(400, 20, 4))
    # 8,000 means of about 20 weights each: the standard error is below 0.002.
    assert abs(kept.mean().item() - 1.0) < 0.01
    assert kept.std() > 0.05

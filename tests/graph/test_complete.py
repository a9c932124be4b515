"""Complete graphs."""

from __future__ import annotations

import pytest
import torch

from ibc_pyg.graph import complete


@pytest.mark.parametrize("N", [1, 2, 5])
def test_every_ordered_pair_once_sorted_by_receiver(N: int) -> None:
    x = torch.randn(N, 3)
    graph = complete(x)
    pairs = [(s, t) for t in range(N) for s in range(N)]
    assert list(map(tuple, graph.edge_index.T.tolist())) == pairs
    assert graph.edge_index.dtype == torch.long
    assert graph.x is x
    assert graph.num_nodes == N
    assert graph.validate()
    without = complete(N, self_loops=False)
    assert list(map(tuple, without.edge_index.T.tolist())) == [(s, t) for s, t in pairs if s != t]
    assert without.num_nodes == N
    assert without.x is None


def test_empty_graph_is_refused() -> None:
    for empty in (0, torch.empty(0, 4)):
        with pytest.raises(ValueError, match="x must have at least 1 node, got 0"):
            complete(empty)

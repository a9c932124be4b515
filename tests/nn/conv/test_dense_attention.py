"""Dense attention of a part of the receivers, as one process of several computes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ibc_pyg.nn.conv.dense_attention import AttentionOptions, dense_attention

TOL = {"atol": 1e-6, "rtol": 1e-5}


@pytest.mark.parametrize("null_node", [True, False])
@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_parts_of_the_receivers_make_the_whole(
    null_node: bool, self_loops: bool, weighted: bool, need_weights: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    B, H, N, C = 2, 3, 11, 4
    query, key, value = (torch.randn(B, H, N, C, generator=generator) for _ in range(3))
    weight = torch.rand(B, N, N, generator=generator) if weighted else None
    options = AttentionOptions(null_node=null_node, self_loops=self_loops)
    whole, alpha = dense_attention(
        query, key, value, options, edge_weight=weight, need_weights=need_weights
    )
    assert whole.shape == (B, H, N, C)
    assert (alpha is None) == (not need_weights)
    for start, stop in ((0, 4), (4, 5), (5, 11)):
        part, part_alpha = dense_attention(
            query[:, :, start:stop],
            key,
            value,
            replace(options, first=start),
            edge_weight=None if weight is None else weight[:, start:stop],
            need_weights=need_weights,
        )
        torch.testing.assert_close(part, whole[:, :, start:stop], **TOL)
        if alpha is not None:
            torch.testing.assert_close(part_alpha, alpha[:, :, start:stop], **TOL)


@pytest.mark.parametrize("self_loops", [True, False])
def test_fast_and_explicit_paths_agree_at_odd_lengths(self_loops: bool) -> None:
    for N in (1, 2, 31, 32, 33, 127, 129):
        q, k, v = torch.randn(3, 1, 2, N, 16, generator=torch.Generator().manual_seed(N))
        options = AttentionOptions(self_loops=self_loops)
        fast, none = dense_attention(q, k, v, options)
        explicit, alpha = dense_attention(q, k, v, options, need_weights=True)
        assert none is None
        torch.testing.assert_close(fast, explicit, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alpha @ v, fast, atol=1e-5, rtol=1e-5)

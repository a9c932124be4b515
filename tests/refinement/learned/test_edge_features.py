from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.refinement.learned.edge_features import (
    FEATURES,
    edge_features,
    nearest_lists,
)


def unit(rows: int, seed: int, channels: int = 6) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, channels, generator=draws), dim=1)


def brute_force(x: Tensor, gallery: Tensor, k: int, *, itself: bool) -> Tensor:
    """The features of every edge, by loops over sorted lists in float64."""
    x, gallery = x.double(), gallery.double()

    def ordered(row: Tensor, leave_out: int | None) -> list[int]:
        similarity = gallery @ row
        found = similarity.argsort(descending=True).tolist()
        return [j for j in found if j != leave_out][:k]

    theirs = [ordered(g, n) for n, g in enumerate(gallery)]
    out = torch.zeros(len(x), min(k, len(gallery) - itself), len(FEATURES))
    for i, row in enumerate(x):
        own = ordered(row, i if itself else None)
        sims = [float(gallery[j] @ row) for j in own]
        mean_i = sum(sims[:10]) / len(sims[:10])
        for n, j in enumerate(own):
            back = [float(gallery[m] @ gallery[j]) for m in theirs[j]]
            s, mean_j = sims[n], sum(back[:10]) / len(back[:10])
            rank = sum(b > s + 1e-6 for b in back) / len(back)
            centre = sum(float(gallery[m] @ gallery[j]) for m in own[:5]) / len(own[:5])
            out[i, n] = torch.tensor(
                [
                    s,
                    n / len(own),
                    rank,
                    float(rank < 1),
                    len(set(own) & set(theirs[j])) / len(own),
                    len(set(own[:8]) & set(theirs[j][:8])) / 8,
                    s - mean_i,
                    s - mean_j,
                    s - sims[0],
                    s - back[0],
                    centre - mean_i,
                    mean_i,
                    mean_j,
                ]
            )
    return out


@pytest.mark.parametrize(("count", "k"), [(40, 12), (25, 24), (9, 30)])
def test_features_of_a_gallery_equal_loops_over_sorted_lists(count, k):
    x = unit(count, 0)
    lists = nearest_lists(x, None, k)
    features = edge_features(lists, x[lists.indices], lists.rows(lists.indices))
    assert torch.allclose(features, brute_force(x, x, k, itself=True), atol=1e-5)


def test_features_of_queries_equal_loops_over_sorted_lists():
    queries, gallery = unit(11, 1), unit(50, 2)
    others = nearest_lists(gallery, None, 12)
    lists = nearest_lists(queries, gallery, 12)
    features = edge_features(lists, gallery[lists.indices], others.rows(lists.indices))
    assert torch.allclose(features, brute_force(queries, gallery, 12, itself=False), atol=1e-5)

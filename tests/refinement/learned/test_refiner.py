from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ibc_pyg.errors import ConfigError
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.edge_features import nearest_lists
from ibc_pyg.refinement.learned.refiner import Refiner

LAYERS = ["LearnedEdges", "none", "IntraBatchConv", "SAGEConv", "GraphConv"]


def unit(rows: int, seed: int, channels: int = 8) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, channels, generator=draws), dim=1)


def made(conv: str = "LearnedEdges", share: float = 0.4, **options: object) -> Refiner:
    """A refiner with random weights."""
    torch.manual_seed(3)
    config = RefinerConfig(conv=conv, **{"k": 7, "rounds": 2, "hidden": 8} | options)
    refiner = Refiner(8, config, share=share).eval()
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return refiner


@pytest.mark.parametrize("conv", LAYERS)
def test_a_query_is_refined_alike_alone_and_among_others(conv):
    refiner, gallery, queries = made(conv), unit(60, 0), unit(9, 1)
    refined = refiner.gallery(gallery)
    together = refiner.queries(queries, refined)
    alone = torch.cat([refiner.queries(query[None], refined) for query in queries])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("conv", LAYERS)
def test_descriptors_have_unit_norm_and_twice_the_width(conv):
    refined = made(conv).gallery(unit(40, 0))
    assert refined.vectors.shape == (40, 16)
    assert torch.allclose(refined.vectors.norm(dim=1), torch.ones(40), atol=1e-5)


def test_an_untrained_round_is_the_average_by_the_third_power_of_the_cosine():
    x = unit(40, 0)
    refiner = Refiner(8, RefinerConfig(k=7, rounds=1), share=0.0)
    lists = nearest_lists(x, None, 7)
    weights = lists.similarities.clamp(min=1e-3) ** 3
    expected = F.normalize(x + (weights[:, :, None] * x[lists.indices]).sum(1), dim=1)
    assert torch.allclose(refiner.gallery(x).refined, expected, atol=1e-5)


def test_a_rotation_of_all_descriptors_keeps_all_cosines():
    refiner, x = made(), unit(40, 0)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(5))).Q
    one, two = refiner.gallery(x).vectors, refiner.gallery(x @ rotation).vectors
    assert torch.allclose(one @ one.T, two @ two.T, atol=1e-4)


def test_the_order_of_the_gallery_does_not_matter():
    refiner, x = made(), unit(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        refiner.gallery(x).vectors[order], refiner.gallery(x[order]).vectors, atol=1e-5
    )


def test_a_share_of_one_keeps_every_cosine():
    x = unit(40, 0)
    refined = made(share=1.0).gallery(x).vectors
    assert torch.allclose(refined @ refined.T, x @ x.T, atol=1e-5)


def test_a_gallery_smaller_than_the_lists_is_refined():
    refined = made().gallery(unit(3, 0))
    assert bool(refined.vectors.isfinite().all())
    assert bool(made().queries(unit(2, 1), refined).isfinite().all())


@pytest.mark.parametrize("name", ["layers.py:Mine", "layers:Mine", "layers.Mine"])
def test_code_of_the_user_is_refused_as_a_layer(name):
    with pytest.raises(ConfigError, match=r"refiner\.conv must be LearnedEdges"):
        RefinerConfig(conv=name)
    with pytest.raises(ConfigError, match=r"refiner\.conv_args\.conv must be LearnedEdges"):
        RefinerConfig(conv="DirGNNConv", conv_args={"conv": name})
    RefinerConfig(conv="DirGNNConv", conv_args={"conv": "torch_geometric.nn.SAGEConv"})

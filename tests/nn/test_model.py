"""The model against its parts, assembled by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ibc_pyg.graph import complete, knn
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN

D, C = 16, 5


def backbone():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, D))


def make(graph=complete_batch, *, steps=1, conv="IntraBatchConv", **changes):
    torch.manual_seed(0)
    mpn = MPN(D, steps, heads=2, conv=conv, every_step=True)
    heads = [BNNeckHead(D, C) for _ in range(mpn.num_outputs)]
    return IntraBatchModel(backbone(), mpn, heads, LinearHead(D, C), graph, **changes).eval()


@pytest.fixture
def images():
    return torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [1, 3])
def test_nodes_are_normalised_and_the_auxiliary_head_reads_the_raw_embedding(images, steps):
    model = make(steps=steps)
    output = model(images)
    raw = model.backbone(images)
    refined = model.mpn(raw / raw.norm(dim=1, keepdim=True)).features
    torch.testing.assert_close(output.embedding, raw)
    torch.testing.assert_close(output.auxiliary_logits, model.auxiliary_head(raw))
    assert len(output.node_logits) == len(refined) == steps
    for ours, head, nodes in zip(output.node_logits, model.node_heads, refined, strict=True):
        torch.testing.assert_close(ours, head(nodes))


@pytest.mark.parametrize("conv", ["IntraBatchConv", "GATv2Conv", "GCNConv"])
def test_complete_graph_equals_explicit_edges(images, conv):
    dense = make(conv=conv)(images).node_logits[0]
    sparse = make(lambda x: complete(x), conv=conv)(images).node_logits[0]
    # Float32 sums in another order.
    torch.testing.assert_close(dense, sparse, rtol=1e-5, atol=1e-5)


def test_another_graph_gives_other_nodes_and_the_same_embedding(images):
    whole, near = make()(images), make(lambda x: knn(x, 2))(images)
    torch.testing.assert_close(whole.embedding, near.embedding)
    assert not torch.allclose(whole.nodes[0], near.nodes[0])


def test_the_loss_on_the_nodes_reaches_every_image_of_the_batch(images):
    model = make()
    images.requires_grad_()
    model(images).node_logits[0][0].sum().backward()
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


def test_descriptors_are_unit_norm_and_do_not_depend_on_the_batch(images):
    model = make()
    together = model.embed(images)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(12))
    torch.testing.assert_close(together, F.normalize(model.backbone(images), dim=-1))
    torch.testing.assert_close(model.embed(images[3:4]), together[3:4], rtol=1e-5, atol=1e-6)


def test_attention_is_returned_on_request(images):
    model = make(steps=2)
    assert model(images).attention == []
    attention = model(images, return_attention=True).attention
    assert [alpha.shape for alpha in attention] == [(2, 12, 12)] * 2


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_normalisation_keeps_its_statistics(images, frozen):
    model = make(freeze_batch_norm=frozen).train()
    before = model.backbone[1].running_mean.clone()
    head_before = model.node_heads[0].norm.running_mean.clone()
    model(images)
    assert torch.equal(before, model.backbone[1].running_mean) == frozen
    assert not torch.equal(head_before, model.node_heads[0].norm.running_mean)
    model.eval().train()
    assert model.backbone[1].training != frozen

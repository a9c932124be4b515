"""Scores are float32 under autocast."""

import pytest
import torch

from ibc_pyg.errors import ConfigError
from ibc_pyg.graph.similarity import similarity_matrix
from ibc_pyg.nn.conv.factory import make_conv
from ibc_pyg.nn.conv.fused import CompleteGATConv


def test_gat_reduces_in_float32():
    x, att = torch.randn(1, 2, 6, 8), torch.randn(1, 2, 8)
    expected = (x * att[0][None, :, None]).sum(-1)
    with torch.autocast("cpu", torch.bfloat16):
        found = CompleteGATConv._reduce(x, att)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_similarity_under_autocast_equals_that_without():
    x = torch.randn(20, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = similarity_matrix(x, "correlation")
    assert torch.equal(found, similarity_matrix(x, "correlation"))


def test_similarity_of_16_bit_embeddings_is_float32():
    assert similarity_matrix(torch.randn(4, 8).bfloat16(), "cosine").dtype == torch.float32


def test_edge_weights_of_a_layer_that_asserts_none_are_refused_by_name():
    conv = make_conv("FAConv", 8)
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    with pytest.raises(ConfigError, match="edge_weight: FAConv takes no edge weights"):
        conv(torch.randn(3, 8), edges, torch.ones(3))

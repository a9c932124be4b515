"""Losses of pytorch-metric-learning by name: values of the library, and messages."""

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners

from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.metric_learning import UNSUPPORTED, loss_names, make_metric_learning_loss
from ibc_pyg.losses.term import TermInput

SIZES = {"num_classes": 6, "embedding_size": 8}


def batch(seed=0, n=24):
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=draws, requires_grad=True)
    return TermInput(x, torch.zeros(n, 6), torch.arange(n) % 6)


@pytest.mark.parametrize("seed", range(2))
def test_equals_the_loss_and_miner_of_the_library(seed):
    x = batch(seed)
    made = make_metric_learning_loss(
        "TripletMarginLoss", {"margin": 0.1}, "TripletMarginMiner",
        {"type_of_triplets": "semihard"}, **SIZES,
    )  # fmt: skip
    found = miners.TripletMarginMiner(type_of_triplets="semihard")(x.features, x.labels)
    expected = losses.TripletMarginLoss(margin=0.1)(x.features, x.labels, found)
    assert expected > 0
    assert made(x) == expected


def test_sizes_are_supplied_and_proxies_use_the_generator_of_torch():
    proxies = []
    for _ in range(2):
        torch.manual_seed(3)
        made = make_metric_learning_loss("ProxyAnchorLoss", {}, None, {}, **SIZES)
        proxies.append(made.loss.proxies)
    assert proxies[0].shape == (6, 8)
    assert torch.equal(proxies[0], proxies[1])


def test_parts_are_made_by_name():
    made = make_metric_learning_loss(
        "TripletMarginLoss",
        {"distance": {"name": "SNRDistance"}, "margin": 0.3},
        None,
        {},
        **SIZES,
    )
    x = batch()
    assert isinstance(made.loss.distance, distances.SNRDistance)
    expected = losses.TripletMarginLoss(margin=0.3, distance=distances.SNRDistance())
    assert made(x) == expected(x.features, x.labels)


@pytest.mark.parametrize("name", loss_names())
def test_every_loss_gives_a_scalar_with_gradients(name):
    torch.manual_seed(0)
    needs = {"P2SGradLoss": {"descriptors_dim": 8}, "RankedListLoss": {"margin": 0.4, "Tn": 10}}
    made = make_metric_learning_loss(name, needs.get(name, {}), None, {}, **SIZES)
    x = batch(n=30)
    value = made(x)
    assert value.shape == ()
    assert value.isfinite()
    value.backward()
    assert x.features.grad is not None


@pytest.mark.parametrize(
    ("name", "args", "miner", "miner_args", "says"),
    [
        ("MultiSimilarity", {}, None, {}, "MultiSimilarityLoss"),
        ("Nonsense123", {}, None, {}, "choose one of"),
        ("CrossBatchMemory", {}, None, {}, "checkpoint"),
        ("TripletMarginLoss", {"marjin": 1}, None, {}, "marjin"),
        ("TripletMarginLoss", {"distance": {"name": "Nowhere"}}, None, {}, "Nowhere"),
        ("TripletMarginLoss", {}, "TripletMiner", {}, "TripletMarginMiner"),
        ("TripletMarginLoss", {}, "TripletMarginMiner", {"kind": 1}, "kind"),
        ("RankedListLoss", {}, None, {}, "margin"),
    ],
)
def test_mistakes_are_one_line(name, args, miner, miner_args, says):
    with pytest.raises(ConfigError, match=says) as caught:
        make_metric_learning_loss(name, args, miner, miner_args, **SIZES)
    assert "\n" not in str(caught.value)


def test_unsupported_classes_exist():
    for name in UNSUPPORTED:
        here = [losses, miners]
        assert any(hasattr(module, name) for module in here), name

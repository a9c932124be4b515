"""Arguments that a loss checks only when it is computed are refused before training."""

import pytest
import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss

from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.factory import BUILTIN, make_loss
from ibc_pyg.losses.metric_learning import loss_names

SIZES = {"num_classes": 6, "embedding_size": 8}


@pytest.mark.parametrize(
    ("name", "args", "miner", "miner_args", "says"),
    [
        ("MultiSimilarityLoss", {"alpha": "two"}, None, {}, "unsupported operand"),
        ("ProxyAnchorLoss", {"num_classes": 3}, None, {}, "for 6 classes"),
        ("ProxyAnchorLoss", {"embedding_size": 7}, None, {}, "of width 8"),
        ("CenterLoss", {"embedding_size": 7}, None, {}, "of width 8"),
        ("TripletMarginLoss", {"distance": "SNRDistance"}, None, {}, "not callable"),
        ("TripletMarginLoss", {}, "TripletMarginMiner", {"margin": [1]}, "not supported"),
        ("TripletMarginLoss", {"reducer": {"name": "DoNothingReducer"}}, None, {}, "MeanReducer"),
        ("ContrastiveLoss", {"distance": {"name": "LpDistance", "arg": {"p": 1}}}, None, {},
         "'arg' beside it"),
        ("ContrastiveLoss", {"distance": {"name": "LpDistance", "args": None}}, None, {},
         "args of LpDistance"),
        ("ArcFaceLoss", {"num_classes": -5}, None, {}, "ArcFaceLoss"),
        ("HistogramLoss", {"n_bins": 0}, None, {}, "HistogramLoss"),
        ("FocalLoss", {"gamma": float("nan")}, None, {}, "gamma must be >= 0"),
        ("BatchHardTripletLoss", {"margin": float("nan")}, None, {}, "margin must be >= 0"),
        ("DynamicSoftMarginLoss", {}, None, {}, "not part of a checkpoint"),
    ],
)  # fmt: skip
def test_a_loss_that_cannot_be_computed_is_one_line(name, args, miner, miner_args, says):
    with pytest.raises(ConfigError, match=says) as caught:
        make_loss(name, args, miner, miner_args, **SIZES)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("loss.terms") == 1


def test_a_mistake_in_a_part_names_the_field_once():
    with pytest.raises(ConfigError) as caught:
        make_loss("TripletMarginLoss", {"distance": {"name": "Nowhere"}}, None, {}, **SIZES)
    assert str(caught.value).count("loss.terms") == 1


def test_trial_changes_neither_generator_nor_weights():
    torch.manual_seed(3)
    made = make_loss("ProxyAnchorLoss", {}, "DistanceWeightedMiner", {}, **SIZES)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    plain = ProxyAnchorLoss(**SIZES)
    assert torch.equal(made.loss.proxies, plain.proxies)
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("name", [*BUILTIN, *loss_names()])
def test_no_loss_is_refused_for_few_classes(name, classes):
    needs = {"P2SGradLoss": {"descriptors_dim": 8}, "RankedListLoss": {"margin": 0.4, "Tn": 10}}
    make_loss(name, needs.get(name, {}), None, {}, num_classes=classes, embedding_size=8)

"""Attention and gradients in closed form; a training with a look at them is one without."""

import math

import pytest
import torch
from torch import nn

from ibc_pyg.graph import knn
from ibc_pyg.nn.heads import LinearHead
from ibc_pyg.nn.model import IntraBatchModel, complete_batch
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.monitor.attention_statistics import (
    attention_of,
    attention_statistics,
    has_attention,
)
from ibc_pyg.training.monitor.speed import Speed
from ibc_pyg.training.monitor.statistics import StepStatistics, gradient_norms
from ibc_pyg.training.run import train
from tests.helpers.digits_run import digits, quick, quiet

CLASSES, IMAGES = 4, 3
N = CLASSES * IMAGES
LABELS = torch.arange(CLASSES).repeat_interleave(IMAGES)


def model(graph=complete_batch, **options):
    torch.manual_seed(0)
    mpn = MPN(8, options.pop("steps", 1), heads=2, **options)
    heads = [LinearHead(8, CLASSES) for _ in range(mpn.num_outputs)]
    return IntraBatchModel(nn.Linear(5, 8), mpn, heads, LinearHead(8, CLASSES), graph)


def floats(values):
    return {name: float(value) for name, value in values.items()}


def test_even_attention_with_a_null_node():
    values = attention_statistics(torch.full((2, N, N), 1 / (N + 1)), LABELS, null_node=True)
    assert floats(values) == pytest.approx(
        {
            "entropy_head0": math.log(N + 1),
            "entropy_head1": math.log(N + 1),
            "own_class": IMAGES / (N + 1),
            "self": 1 / (N + 1),
            "null_node": 1 / (N + 1),
        },
        rel=1e-5,  # float32 sums over 12
    )


def test_even_attention_without_a_null_node():
    values = floats(attention_statistics(torch.full((1, N, N), 1 / N), LABELS, null_node=False))
    assert values == pytest.approx(
        {"entropy_head0": math.log(N), "own_class": IMAGES / N, "self": 1 / N}, rel=1e-5
    )


def test_heads_of_opposite_minds():
    """The first listens to itself alone, the second to nobody."""
    alpha = torch.stack([torch.eye(N), torch.zeros(N, N)])
    values = floats(attention_statistics(alpha, LABELS, null_node=True))
    assert values == pytest.approx(
        {
            "entropy_head0": 0.0,
            "entropy_head1": 0.0,
            "own_class": 0.5,
            "self": 0.5,
            "null_node": 0.5,
        }
    )


@pytest.mark.parametrize("weight", [-0.1, 0.5, float("nan")])
def test_weights_that_are_no_shares_give_nothing(weight):
    assert attention_statistics(torch.full((1, N, N), weight), LABELS, null_node=True) == {}


@pytest.mark.parametrize("conv", ["IntraBatchConv", "GATConv", "TransformerConv"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_attention_is_the_models_own(conv, steps):
    subject = model(conv=conv, steps=steps).train()
    nodes = nn.functional.normalize(torch.randn(N, 8), dim=-1)
    found = attention_of(subject, 3.0 * nodes)
    subject.eval()
    expected = subject.mpn(nodes, return_attention=True).attention
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("conv", ["IntraBatchConv", "GATv2Conv"])
def test_given_edges_make_a_matrix_with_zeros(conv):
    subject = model(lambda nodes: knn(nodes, 3), conv=conv)
    (alpha,) = attention_of(subject, torch.randn(N, 8))
    assert alpha.shape == (2, N, N)
    assert ((alpha > 0).sum(-1) <= 4).all()
    null_node = conv == "IntraBatchConv"
    values = attention_statistics(alpha, LABELS, null_node=null_node)
    assert 0 < values["entropy_head0"] <= math.log(5)


def test_looking_leaves_no_trace():
    subject = model(conv="IntraBatchConv", dropout_attention=0.5).train()
    subject.mpn.steps[0].dropout_mlp.eval()
    modes = [module.training for module in subject.modules()]
    before, weights = torch.get_rng_state(), [p.clone() for p in subject.parameters()]
    attention_of(subject, torch.randn(N, 8, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(before, torch.get_rng_state())
    assert modes == [module.training for module in subject.modules()]
    assert all(torch.equal(a, b) for a, b in zip(weights, subject.parameters(), strict=True))
    assert all(p.grad is None for p in subject.parameters())


def test_which_models_have_attention():
    assert has_attention(model())
    assert not has_attention(model(conv="GCNConv"))
    assert not has_attention(model(conv="none"))
    assert not has_attention(IntraBatchModel(nn.Linear(5, 8), None, [], LinearHead(8, 4)))


def test_gradient_norms_of_parts():
    subject = model(conv="GCNConv")
    loss = nn.Linear(3, 4, bias=False)
    assert gradient_norms(subject, loss) == {}
    for part, value in ((subject.backbone, 1.0), (subject.node_heads, 2.0), (loss, 3.0)):
        for parameter in part.parameters():
            parameter.grad = torch.full_like(parameter, value)
    # Every entry of a gradient is the same: the norm is its size times the root of their number.
    sizes = {"backbone": 8 * 6, "heads": CLASSES * 9, "loss": 12}
    expected = {
        f"grad_norm/{name}": value * math.sqrt(sizes[name]) / 8
        for name, value in (("backbone", 1.0), ("heads", 2.0), ("loss", 3.0))
    }
    assert floats(gradient_norms(subject, loss, scale=8.0)) == pytest.approx(expected)


def test_when_a_step_is_recorded():
    experiment = setup(quick())
    statistics = StepStatistics(experiment.fabric, experiment.model, experiment.loss, 3)
    due = [statistics.schedule(step, record=step % 2 == 0) for step in range(1, 7)]
    assert due == [False, True, True, True, False, True]
    never = StepStatistics(experiment.fabric, experiment.model, experiment.loss, 0)
    assert not never.schedule(3, record=False)
    assert never.collect() == {}


def test_speed_and_waiting_by_a_clock_of_our_own():
    now = 0.0

    def batches():
        nonlocal now
        for _ in range(4):
            now += 1.0
            yield 10

    speed = Speed(clock=lambda: now)
    for number, batch in enumerate(speed.waiting(batches())):
        now += 3.0
        speed.add(batch)
        if number == 1:
            assert speed.record() == {"train/images_per_s": 20 / 8, "train/data_wait": 0.25}
    assert speed.record() == {"train/images_per_s": 40 / 16, "train/data_wait": 0.25}


@pytest.mark.parametrize("options", [["--model.conv", "IntraBatchConv"], ["--model.steps", "2"]])
def test_a_training_that_looks_has_the_weights_of_one_that_does_not(tmp_path, options):
    short = ["--train.epochs", "1", "--train.lr_milestones", "[]", *options]
    looking = train(quick(*short, "--track.statistics_every", "3"), tmp_path / "a", quiet())
    blind = train(
        quick(*short, "--track.statistics_every", "0", "--track.every", "1000"),
        tmp_path / "b",
        quiet(),
    )
    assert looking.weights.read_bytes() == blind.weights.read_bytes()
    records = [r for r in looking.read_history() if "train/loss" in r]
    place = "attention" if "2" not in options else "attention/step1"
    seen = {r["step"]: r[f"{place}/null_node"] for r in records if f"{place}/null_node" in r}
    assert list(seen) == [r["step"] for r in records if r["step"] % 3 == 0]
    nodes = 32
    for record in records:
        assert 0 <= record["train/data_wait"] <= 1
        assert record["grad_norm/backbone"] > 0
        assert record["lr/backbone"] == record["lr/heads"] == record["train/lr"]
        # The parts are all there is: their squares add up to that of the whole.
        parts = [record[f"grad_norm/{part}"] for part in ("backbone", "mpn", "heads")]
        assert math.hypot(*parts) == pytest.approx(record["train/grad_norm"], rel=1e-4)
        if record["step"] in seen:
            shares = [record[f"{place}/{name}"] for name in ("own_class", "null_node")]
            assert 0 < sum(shares) < 1
            assert 0 < record[f"{place}/entropy_head1"] <= math.log(nodes + 1)
    assert not any("attention" in name for r in blind.read_history() for name in r)


def test_statistics_every_is_checked():
    with pytest.raises(ValueError, match=r"track\.statistics_every"):
        digits("--track.statistics_every", "-1")

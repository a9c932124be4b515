"""The paper's loss against its closed form."""

import math

import pytest
import torch

from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.model import ModelOutput


def output(node_logits, auxiliary_logits):
    nothing = torch.zeros(len(auxiliary_logits), 2)
    return ModelOutput(nothing, [nothing] * len(node_logits), node_logits, auxiliary_logits, [])


def smoothed_cross_entropy(logits, labels, temperature, smoothing):
    """Sum by hand: the target has 1 - s + s / C at the label and s / C elsewhere."""
    total = 0.0
    for row, label in zip((logits / temperature).tolist(), labels.tolist(), strict=True):
        log_z = math.log(sum(math.exp(value) for value in row))
        for number, value in enumerate(row):
            target = smoothing / len(row) + (1 - smoothing) * (number == label)
            total -= target * (value - log_z)
    return total / len(labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("temperature", "smoothing"), [(1.0, 0.1), (0.2, 0.1), (0.6, 0.0)])
def test_is_the_closed_form(seed, temperature, smoothing):
    generator = torch.Generator().manual_seed(seed)
    nodes = [torch.randn(8, 5, generator=generator) for _ in range(2)]
    auxiliary = torch.randn(8, 5, generator=generator)
    labels = torch.randint(5, (8,), generator=generator)
    terms = IntraBatchLoss(temperature, smoothing, 0.7, 1.3)(output(nodes, auxiliary), labels)
    by_hand = [
        smoothed_cross_entropy(logits, labels, temperature, smoothing)
        for logits in [*nodes, auxiliary]
    ]
    # Float32 against Python's doubles.
    assert float(terms.nodes) == pytest.approx(by_hand[0] + by_hand[1], rel=1e-5)
    assert float(terms.auxiliary) == pytest.approx(by_hand[2], rel=1e-5)
    assert float(terms.total) == pytest.approx(
        0.7 * (by_hand[0] + by_hand[1]) + 1.3 * by_hand[2], rel=1e-5
    )


def test_without_message_passing_it_is_the_auxiliary_term():
    auxiliary = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    terms = IntraBatchLoss()(output([], auxiliary), torch.tensor([0, 1, 2, 0]))
    assert terms.total == terms.auxiliary
    assert terms.nodes == 0

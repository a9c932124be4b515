from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ibc_pyg.errors import RunError
from ibc_pyg.metrics import retrieval_metrics
from ibc_pyg.refinement.learned.config import RefinerConfig
from ibc_pyg.refinement.learned.fit import Choice, Gallery, choose, fit_refiner, halves
from ibc_pyg.refinement.learned.objective import refinement_loss

QUICK = RefinerConfig(k=8, rounds=2, steps=10, episodes=3, receivers=60, hidden=8)


def clusters(classes: int, images: int, seed: int, noise: float = 0.55) -> Gallery:
    draws = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(classes, 16, generator=draws), dim=1)
    labels = torch.arange(classes).repeat_interleave(images)
    vectors = centres[labels] + noise * torch.randn(len(labels), 16, generator=draws) / 2
    return Gallery(F.normalize(vectors, dim=1), labels)


def test_unseen_classes_are_retrieved_better_than_without_refinement():
    fitted = fit_refiner([clusters(16, 12, 0)], QUICK)
    test = clusters(16, 12, 9)
    refined = fitted.refiner.gallery(test.vectors).vectors
    before = retrieval_metrics(test.vectors, test.labels, ks=(1,))["MAP@R"]
    assert retrieval_metrics(refined, test.labels, ks=(1,))["MAP@R"] > before + 0.05


def test_the_seed_determines_the_weights():
    one, two, other = (
        fit_refiner([clusters(10, 8, 0)], QUICK, seed=seed).refiner.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_training_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fit_refiner([clusters(10, 8, 0)], QUICK)
    assert torch.equal(torch.get_rng_state(), before)


def test_halves_have_different_classes_that_lie_apart():
    gallery = clusters(12, 5, 0)
    one, two = halves(gallery)
    assert not set(one.labels.tolist()) & set(two.labels.tolist())
    assert len(one.labels) + len(two.labels) == len(gallery.labels)


def test_too_few_classes_are_named():
    with pytest.raises(RunError, match="needs 8 or more training classes"):
        fit_refiner([clusters(5, 8, 0)], QUICK)


def test_the_share_is_the_best_that_keeps_the_first_hit():
    plain = Choice(1.0, 0.9, 0.3)
    choices = [Choice(0.2, 0.8, 0.6), Choice(0.5, 0.9, 0.5), Choice(0.9, 0.91, 0.35)]
    assert choose(plain, choices).share == 0.5
    assert choose(Choice(1.0, 0.99, 0.3), choices).share == 0.9


def test_the_loss_equals_its_sum_over_pairs():
    gallery = clusters(4, 3, 1)
    x, y = gallery.vectors.double(), gallery.labels
    total = 0.0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        scores = {j: float(x[i] @ x[j]) / 0.1 for j in others}
        bottom = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0)
        own = torch.tensor([scores[j] for j in others if y[j] == y[i]], dtype=torch.float64)
        total += -float((own - bottom).mean()) - 2.0 * float((own - bottom).logsumexp(0))
    loss = refinement_loss(x, y, temperature=0.1, first_hit=2.0)
    assert float(loss) == pytest.approx(total / len(x))

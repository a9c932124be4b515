"""Built-in terms against closed forms and torch."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.batch_hard import BatchHardTripletLoss
from ibc_pyg.losses.center import CenterLoss
from ibc_pyg.losses.distillation import FeatureDistillation, SoftTargetDistillation
from ibc_pyg.losses.factory import make_loss
from ibc_pyg.losses.focal import FocalLoss
from ibc_pyg.losses.term import Term, TermInput

SIZES = {"num_classes": 5, "embedding_size": 4}


def batch(seed=0, n=12):
    draws = torch.Generator().manual_seed(seed)
    return TermInput(
        torch.randn(n, 4, generator=draws),
        3 * torch.randn(n, 5, generator=draws),
        torch.randint(5, (n,), generator=draws),
    )


def with_teacher(seed=0):
    student, teacher = batch(seed), batch(seed + 100)
    return TermInput(student.features, student.logits, student.labels, teacher)


@pytest.mark.parametrize("seed", range(3))
def test_focal_loss_without_focus_is_cross_entropy(seed):
    x = batch(seed)
    assert torch.allclose(FocalLoss(0.0)(x), F.cross_entropy(x.logits, x.labels))
    p = (x.logits / 0.5).softmax(1)[range(12), x.labels].double()
    expected = ((1 - p) ** 2 * -p.log()).mean().float()
    assert torch.allclose(FocalLoss(2.0, temperature=0.5)(x), expected, rtol=1e-5)


def test_focal_loss_has_gradients_where_a_sample_is_certain():
    logits = torch.tensor([[60.0, 0, 0, 0, 0]], requires_grad=True)
    FocalLoss(0.5)(TermInput(torch.zeros(1, 4), logits, torch.tensor([0]))).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_center_loss_is_half_the_squared_distance(seed):
    x, loss = batch(seed), CenterLoss(5, 4)
    by_hand = sum(
        F.mse_loss(loss.centers[y], row, reduction="sum")
        for row, y in zip(x.features, x.labels.tolist(), strict=True)
    )
    assert torch.allclose(loss(x), by_hand / 24)
    loss(x).backward()
    assert loss.centers.grad.abs().sum() > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [None, 0.3])
@pytest.mark.parametrize("normalize", [True, False])
def test_batch_hard_is_the_worst_of_all_triplets(seed, margin, normalize):
    x = batch(seed)
    rows = F.normalize(x.features, dim=1) if normalize else x.features
    labels = x.labels.tolist()
    worst = {}
    for a, p, n in itertools.permutations(range(12), 3):
        if labels[a] == labels[p] != labels[n]:
            gap = float((rows[a] - rows[p]).norm() - (rows[a] - rows[n]).norm())
            worst[a] = max(gap, worst.get(a, -9.0))
    gaps = torch.tensor(list(worst.values()))
    expected = F.softplus(gaps) if margin is None else F.relu(gaps + margin)
    assert torch.allclose(BatchHardTripletLoss(margin, normalize)(x), expected.mean(), atol=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
def test_batch_hard_without_a_triplet_is_zero_with_gradient(labels):
    features = torch.randn(3, 4, requires_grad=True)
    loss = BatchHardTripletLoss()(TermInput(features, torch.zeros(3, 5), torch.tensor(labels)))
    loss.backward()
    assert loss == 0
    assert (features.grad == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_distillation_against_closed_forms(seed):
    x = with_teacher(seed)
    p = (x.teacher.logits / 2).softmax(1).double()
    q = (x.logits / 2).softmax(1).double()
    expected = 4 * (p * (p.log() - q.log())).sum(1).mean()
    assert torch.allclose(SoftTargetDistillation(2.0)(x).double(), expected, rtol=1e-5)
    cosine = F.cosine_similarity(x.features, x.teacher.features)
    assert torch.allclose(FeatureDistillation()(x), (2 - 2 * cosine).mean(), atol=1e-6)


def test_student_equal_to_its_teacher_has_no_loss():
    x = batch()
    same = TermInput(x.features, x.logits, x.labels, x)
    assert abs(float(SoftTargetDistillation()(same))) < 1e-6
    assert abs(float(FeatureDistillation()(same))) < 1e-6


def test_teacher_moves_with_the_term_but_is_not_a_submodule():
    teacher = torch.nn.Linear(2, 2)
    term = Term("t", FeatureDistillation(), teacher=teacher)
    assert not list(term.parameters())
    assert not term.state_dict()
    term.double()
    assert teacher.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "args", "miner", "says"),
    [
        ("FocalLoss", {"gama": 2}, None, "gama"),
        ("FocalLoss", {"gamma": -1}, None, "gamma"),
        ("FocalLoss", {"temperature": 0}, None, "temperature"),
        ("SoftTargetDistillation", {"temperature": -1}, None, "temperature"),
        ("BatchHardTripletLoss", {"margin": -1}, None, "margin"),
        ("FeatureDistillation", {"x": 1}, None, "'x'"),
        ("CenterLoss", {}, "TripletMarginMiner", "no miner"),
    ],
)
def test_mistakes_are_named(name, args, miner, says):
    with pytest.raises(ConfigError, match=says):
        make_loss(name, args, miner, {}, **SIZES)

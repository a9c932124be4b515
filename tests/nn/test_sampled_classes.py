"""With all classes drawn, heads train as the full heads; with some, as a softmax over those."""

import pytest
import torch
import torch.nn.functional as F

from ibc_pyg.builders.optimization.optimizer import build_optimizer
from ibc_pyg.config import TrainConfig
from ibc_pyg.config.files.yaml_file import parse_config
from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.nn.heads import BNNeckHead, LinearHead
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.mpn import MPN
from ibc_pyg.nn.sampled_classes import ZERO_STATE, SampledClasses

CLASSES, WIDTH, BATCH = 10_000, 16, 12
HALF = ["--loss.sampled_classes", "0.5", "--loss.terms"]


DROPOUTS = ("attention", "conv", "hidden", "mlp")


def make_model(neck, classes=CLASSES):
    """A model with both heads: of refined nodes, and of embeddings."""
    torch.manual_seed(0)
    kind = BNNeckHead if neck else LinearHead
    heads = [kind(WIDTH, classes) for _ in range(2)]
    for head in heads:
        torch.nn.init.normal_(head.linear.weight, std=0.1)
    mpn = MPN(WIDTH, 1, heads=2, **{f"dropout_{each}": 0.0 for each in DROPOUTS})
    return IntraBatchModel(torch.nn.Linear(6, WIDTH), mpn, heads[:1], heads[1]).train()


class Trial:
    """Model, loss and optimiser."""

    def __init__(self, neck, fraction, optimizer="RAdam", **options):
        self.model = make_model(neck)
        self.heads = [*self.model.node_heads, self.model.auxiliary_head]
        self.sampled = None
        if fraction is not None:
            self.sampled = SampledClasses(self.heads, fraction, BATCH, seed=3)
        self.loss = IntraBatchLoss(temperature=0.5, sampled=self.sampled)
        config = TrainConfig(optimizer=optimizer, lr=0.05, **options)
        self.optimizer = build_optimizer(config, self.model, self.loss)
        self.chosen = []

    def step(self, draws):
        """Take a step; return loss and gradients by name."""
        images = torch.randn(BATCH, 6, generator=draws)
        labels = torch.randint(CLASSES, (BATCH // 2,), generator=draws).repeat_interleave(2)
        sampled = self.sampled
        columns = None if sampled is None else sampled.draw(labels, self.optimizer)
        value = self.loss(self.model(images), labels, columns=columns).total
        self.optimizer.zero_grad()
        value.backward()
        named = dict(self.model.named_parameters())
        if sampled is not None:
            names = [name for name, each in named.items() if ".linear." in name and "head" in name]
            named |= dict(zip(names, sampled.rows, strict=True))
        gradients = {
            name: each.grad.clone() for name, each in named.items() if each.grad is not None
        }
        self.optimizer.step()
        if sampled is not None:
            sampled.keep(self.optimizer)
            self.chosen.append(sampled._chosen.clone())
        return value.item(), gradients

    def train(self, steps, draws=None):
        """Take steps; return the losses, and the gradients of the first."""
        draws = torch.Generator().manual_seed(1) if draws is None else draws
        found = [self.step(draws) for _ in range(steps)]
        return [loss for loss, _ in found], found[0][1]


@pytest.mark.parametrize("neck", [True, False])
@pytest.mark.parametrize("optimizer", ZERO_STATE)
def test_all_classes_drawn_is_the_full_head(neck, optimizer):
    options = {"optimizer_args": {"momentum": 0.9}} if optimizer in ("SGD", "RMSprop") else {}
    options |= {} if optimizer == "Adadelta" else {"weight_decay": 0.01}
    full, sampled = (Trial(neck, f, optimizer, **options) for f in (None, 1.0))
    losses, gradients = full.train(3)
    found_losses, found_gradients = sampled.train(3)
    assert found_losses == pytest.approx(losses, abs=1e-5)
    weights, found_weights = full.model.state_dict(), sampled.model.state_dict()
    for wanted, found in ((gradients, found_gradients), (weights, found_weights)):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0, msg=name)


def test_gradients_of_a_sample_are_those_of_its_classes():
    """Against a softmax over these classes alone, written out."""
    model = make_model(neck=False)
    heads = [*model.node_heads, model.auxiliary_head]
    sampled = SampledClasses(heads, 0.01, BATCH, seed=3)
    loss = IntraBatchLoss(label_smoothing=0.1, sampled=sampled)
    optimizer = build_optimizer(TrainConfig(), model, loss)
    x, labels = torch.randn(BATCH, 6), torch.arange(5000, 5000 + BATCH)
    columns = sampled.draw(labels, optimizer)
    assert sampled.size == 100
    assert torch.equal(sampled._chosen[columns], labels)
    assert len(sampled._chosen.unique()) == 100
    loss(model(x), labels, columns=columns).total.backward()
    weight = heads[1].linear.weight.detach().clone().requires_grad_()
    bias = heads[1].linear.bias.detach().clone().requires_grad_()
    logits = model.backbone(x).detach() @ weight.T + bias  # [N, K]
    mask = torch.full((CLASSES,), -torch.inf)
    mask[sampled._chosen] = 0
    log_p = torch.log_softmax(logits + mask, 1)[:, sampled._chosen]  # [N, S]
    target = F.one_hot(columns, 100) * 0.9 + 0.1 / 100
    (-(target * log_p).sum(1).mean()).backward()
    torch.testing.assert_close(sampled.rows[2].grad, weight.grad[sampled._chosen])
    torch.testing.assert_close(sampled.rows[3].grad, bias.grad[sampled._chosen])
    assert all(store.grad is None for store in sampled.stores)


def test_classes_that_are_not_drawn_keep_their_weights():
    before, trial = make_model(neck=True).state_dict(), Trial(True, 0.01)
    trial.train(3)
    after, drawn = trial.model.state_dict(), torch.cat(trial.chosen).unique()
    assert 100 < len(drawn) <= 300
    for name in ("node_heads.0.linear.weight", "auxiliary_head.linear.weight"):
        changed = (before[name] != after[name]).any(1).nonzero()[:, 0]
        assert torch.equal(changed, drawn)


def test_each_draw_is_another_and_uniform():
    model = make_model(neck=True, classes=50)
    sampled = SampledClasses([model.auxiliary_head], 0.4, 4, seed=0)
    optimizer = build_optimizer(TrainConfig(), model, IntraBatchLoss(sampled=sampled))
    counts = torch.zeros(50)
    for _ in range(500):
        sampled.draw(torch.tensor([7, 7, 9, 9]), optimizer)
        counts[sampled._chosen] += 1
    assert counts[7] == counts[9] == 500
    others = counts[[i for i in range(50) if i not in (7, 9)]]
    # 18 of 48: mean 187.5, standard deviation 10.8.
    assert 187.5 - 5 * 10.8 < others.min() <= others.max() < 187.5 + 5 * 10.8


def test_a_state_goes_on_to_the_bit():
    whole, first, second = (Trial(True, 0.01) for _ in range(3))
    wanted, _ = whole.train(6)
    draws = torch.Generator().manual_seed(1)
    losses, _ = first.train(3, draws)
    for name in ("model", "loss", "optimizer"):
        getattr(second, name).load_state_dict(getattr(first, name).state_dict())
    assert losses + second.train(3, draws)[0] == wanted
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_evaluation_uses_all_classes():
    model = make_model(neck=False)
    SampledClasses([*model.node_heads, model.auxiliary_head], 0.01, BATCH, seed=0)
    x = torch.randn(4, 6)
    assert model(x).auxiliary_logits.shape == (4, 100)
    assert model.eval()(x).auxiliary_logits.shape == (4, CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss.sampled_classes", "0"], "loss.sampled_classes"),
        (["--loss.sampled_classes", "1.5"], "loss.sampled_classes"),
        (
            ["--loss.sampled_classes", "0.5", "--loss.terms", "[{name: FocalLoss}]"],
            "FocalLoss may read",
        ),
        (["--loss.sampled_classes", "0.5", "--loss.terms", "[{name: 'own.py:Mine'}]"], "may read"),
    ],
)
def test_settings_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(None, options)


def test_optimisers_with_another_first_state_are_refused():
    model = make_model(neck=False)
    sampled = SampledClasses([model.auxiliary_head], 0.5, BATCH, seed=0)
    with pytest.raises(ConfigError, match=r"needs one of the optimisers Adadelta, .*, not Adagrad"):
        build_optimizer(TrainConfig(optimizer="Adagrad"), model, IntraBatchLoss(sampled=sampled))

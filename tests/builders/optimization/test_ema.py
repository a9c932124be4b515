"""Moving average of the weights: closed form, AveragedModel of torch, and use in a run."""

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ibc_pyg.builders.optimization.ema import WeightAverage
from ibc_pyg.runs.checkpoint import load_newest
from ibc_pyg.training.run import train
from tests.helpers.digits_run import quick, quiet, records


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(net):
    net(torch.randn(5, 3))  # moves the statistics
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_the_average_is_the_weighted_sum_of_all_weights():
    net, decay = network(), 0.4
    average = WeightAverage(net, decay)
    history = [net[0].weight.detach().double()]
    for _ in range(12):
        move(net)
        average.update()
        history.append(net[0].weight.detach().double())
    rates = [min(decay, (1 + t) / (10 + t)) for t in range(1, 13)]
    expected = torch.zeros_like(history[0])
    for t, weight in enumerate(history):
        share = 1.0 if t == 0 else 1 - rates[t - 1]
        for later in rates[t:]:
            share *= later
        expected += share * weight
    # Twelve roundings to float32.
    torch.testing.assert_close(average.values["0.weight"].double(), expected, rtol=1e-5, atol=1e-6)


def test_after_the_first_steps_it_equals_averaged_model():
    net, decay = network(), 0.3
    average = WeightAverage(net, decay)
    average.steps = 100
    reference = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    reference.n_averaged.fill_(1)
    for _ in range(5):
        move(net)
        average.update()
        reference.update_parameters(net)
    for name, value in reference.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert average.values[name] == net.state_dict()[name]
        else:
            torch.testing.assert_close(average.values[name], value)


def test_in_place_restores_the_weights_exactly():
    net = network()
    average = WeightAverage(net, 0.9)
    move(net)
    average.update()
    current = {name: value.clone() for name, value in net.state_dict().items()}
    averaged = {name: value.clone() for name, value in average.values.items()}
    with average.in_place():
        assert all(torch.equal(net.state_dict()[name], averaged[name]) for name in averaged)
    assert all(torch.equal(net.state_dict()[name], current[name]) for name in current)
    assert all(torch.equal(average.values[name], averaged[name]) for name in averaged)


def test_average_of_constant_weights():
    net = network()
    average = WeightAverage(net, 0.99)
    for _ in range(50):
        average.update()
    assert all(torch.equal(average.values[name], value) for name, value in net.state_dict().items())


def test_a_run_saves_the_average_and_trains_the_weights(tmp_path):
    options = ("--train.epochs", "1", "--train.lr_milestones", "[]")
    plain = train(quick(*options), tmp_path / "plain", quiet())
    run = train(quick(*options, "--train.ema_decay", "0.9"), tmp_path / "ema", quiet())
    kept, state = load_file(run.weights), load_newest(run.checkpoints)[1]
    assert all(torch.equal(kept[name], value) for name, value in state["ema"]["values"].items())
    # Training is the same as without EMA; evaluation and saved weights differ.
    without = load_file(plain.weights)
    assert all(torch.equal(state["model"][name], value) for name, value in without.items())
    assert not torch.equal(kept["backbone.embedding.weight"], without["backbone.embedding.weight"])
    losses = [
        [r["train/loss"] for r in records(each) if "train/loss" in r] for each in (run, plain)
    ]
    assert losses[0] == losses[1]
    assert records(run)[-1]["test/R@1"] == run.read_summary()["R@1"]


def test_reloading_the_best_weights_restarts_the_average(tmp_path):
    options = ("--train.ema_decay", "0.9", "--select", "test", "--train.reload_best_at", "[1]",
               "--train.epochs", "1", "--train.lr_milestones", "[]")  # fmt: skip
    run = train(quick(*options), tmp_path / "best", quiet())
    kept, state = load_file(run.weights), load_newest(run.checkpoints)[1]
    assert all(torch.equal(kept[name], state["model"][name]) for name in kept)
    assert all(torch.equal(kept[name], state["ema"]["values"][name]) for name in kept)

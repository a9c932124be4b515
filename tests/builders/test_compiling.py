"""The compiled training step: same results, few compilations, unchanged parameter names."""

import functools
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from ibc_pyg.builders.compiling import compile_step
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.evaluation.scores import score
from ibc_pyg.inference.eval_set import EvalSet
from ibc_pyg.inference.trained import load_run
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import train
from tests.helpers.digits_run import digits, quick, quiet, records

CPU = torch.device("cpu")
NO_DROPOUT = ("--model.mpn_args", "{" + ", ".join(
    f"dropout_{place}: 0" for place in ("attention", "conv", "hidden", "mlp")) + "}")  # fmt: skip


@pytest.fixture
def graphs(monkeypatch):
    """Return a counter of compilations, without a compiler."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "conv", ["IntraBatchConv", "GATConv", "GATv2Conv", "TransformerConv", "none"]
)
def test_batch_sizes_cause_two_compilations(graphs, conv):
    config = digits("--model.conv", conv)
    model = setup(config).model.train()
    compiled = compile_step(model, CPU)
    before = graphs()
    for size in (32, 24, 40, 16, 56, 32, 48):
        compiled(torch.randn(size, 1, 8, 8)).auxiliary_logits.sum().backward()
    # One for the first size, one for all others.
    assert graphs() - before == 2
    assert list(model.state_dict()) == list(setup(config).model.state_dict())


def test_a_whole_run_compiles_once(graphs, tmp_path):
    short = ("--train.epochs", "1", "--train.lr_milestones", "[]")
    run = train(quick(*short, "--train.compile", "true"), tmp_path / "run", quiet())
    assert graphs() == 2  # the small trial function, and the model
    plain = train(quick(*short), tmp_path / "plain", quiet())
    assert list(load_file(run.weights)) == list(load_file(plain.weights))


def test_missing_compiler_is_a_one_line_error(monkeypatch, tmp_path):
    from torch._inductor import config

    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(
            ConfigError, match=r"^train\.compile: .*g\+\+.*train\.compile = false"
        ) as said,
    ):
        setup(digits("--train.compile", "true"))
    assert "\n" not in str(said.value)
    torch._dynamo.reset()


@pytest.mark.parametrize("interrupted", [False, True])
def test_compiler_failure_is_a_one_line_error(monkeypatch, tmp_path, interrupted):
    def backend(graph, inputs):
        if len(graph.graph.nodes) < 10:  # the small trial function
            return graph.forward
        if interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("the compiler has ended\nwith many lines")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    says = r"^train\.compile: .*\(the compiler has ended\); set train\.compile = false$"
    with pytest.raises(TrainingInterrupted) if interrupted else pytest.raises(RunError, match=says):
        train(quick("--train.compile", "true"), tmp_path / "run", quiet())
    torch._dynamo.reset()


def test_compile_excludes_gradient_checkpointing():
    with pytest.raises(ConfigError, match=r"train\.compile .* model\.gradient_checkpointing"):
        digits("--train.compile", "true", "--model.gradient_checkpointing", "true")


@pytest.mark.slow
def test_loss_and_gradients_equal_those_of_the_plain_model():
    torch._dynamo.reset()
    experiment = setup(digits(*NO_DROPOUT))
    model, images = experiment.model.train(), torch.randn(32, 1, 8, 8)
    labels = torch.arange(32) // 8
    results = []
    for each in (model, compile_step(model, CPU)):
        model.zero_grad()
        loss = experiment.loss(each(images), labels, images).total
        loss.backward()
        results.append((loss.detach(), [parameter.grad for parameter in model.parameters()]))
    # Float32 sums in another order.
    assert results[1][0].item() == pytest.approx(results[0][0].item(), abs=1e-5)
    for compiled, plain in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_losses_of_a_compiled_run_equal_those_of_a_plain_one(tmp_path):
    torch._dynamo.reset()
    options = (*NO_DROPOUT, "--train.epochs", "1", "--train.lr_milestones", "[]")
    losses = []
    for name in ("false", "true"):
        run = train(quick(*options, "--train.compile", name), tmp_path / name, quiet())
        losses.append([r["train/loss"] for r in records(run) if "train/loss" in r])
    # The first step is one forward pass; rounding errors grow in later steps.
    assert losses[1][0] == pytest.approx(losses[0][0], abs=1e-5)
    assert losses[1][:4] == pytest.approx(losses[0][:4], abs=1e-3)
    trained = load_run(run.path)
    again = score(EvalSet(trained).extract(), trained.config.evaluate, seed=0)
    assert again["R@1"] == run.read_summary()["R@1"]

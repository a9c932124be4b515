"""Everything that may be switched on in training, together; one line for mistakes."""

import pytest
import torch
from safetensors.torch import load_file

from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.errors import ConfigError
from ibc_pyg.runs.checkpoint import load_newest
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import train
from tests.helpers.digits_run import interrupted_and_resumed, quick, quiet, records

EVERYTHING = (
    "--model.freeze", "[features.0]", "--model.gradient_checkpointing", "true",
    "--train.freeze_backbone_epochs", "1.5", "--train.ema_decay", "0.9",
    "--train.schedule", "cosine", "--train.warmup_steps", "5", "--train.lr_min_factor", "0.01",
    "--train.weight_decay", "0.01", "--train.clip_norm", "5", "--train.channels_last", "true",
    "--select", "test", "--train.reload_best_at", "[2]",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(quick(*EVERYTHING), tmp_path_factory.mktemp("runs") / "whole", quiet())


# In the frozen epochs, in the step that thaws, after the best weights came back.
@pytest.mark.parametrize("stop_at", [5, 22, 40])
def test_resume_is_exact(whole, tmp_path, stop_at):
    cut = interrupted_and_resumed(quick(*EVERYTHING), tmp_path / "cut", stop_at)
    assert cut.weights.read_bytes() == whole.weights.read_bytes()
    assert records(cut) == records(whole)
    ours, theirs = load_newest(cut.checkpoints)[1], load_newest(whole.checkpoints)[1]
    for part in ("model", "ema"):
        left = ours[part] if part == "model" else ours[part]["values"]
        right = theirs[part] if part == "model" else theirs[part]["values"]
        assert all(torch.equal(left[name], right[name]) for name in right), part


def test_the_frozen_part_has_its_first_values(whole):
    start = train(
        quick("--train.lr", "1e-12", "--train.epochs", "1"), whole.path.parent / "start", quiet()
    )
    first, last = load_file(start.weights), load_file(whole.weights)
    for name in ("weight", "bias"):
        key = f"backbone.features.0.1.{name}"
        assert torch.equal(last[key], {"weight": torch.ones(8), "bias": torch.zeros(8)}[name]), key
    key = "backbone.features.0.1.running_mean"
    assert torch.equal(last[key], torch.zeros(8))
    assert not torch.equal(first[key], last[key])


def test_gradient_checkpointing_changes_no_weight(tmp_path):
    short = ("--train.epochs", "1", "--train.lr_milestones", "[]")
    plain = train(quick(*short), tmp_path / "plain", quiet())
    thrifty = train(
        quick(*short, "--model.gradient_checkpointing", "true"), tmp_path / "thrifty", quiet()
    )
    ours, theirs = load_file(thrifty.weights), load_file(plain.weights)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model.backbone", "timm:resnet5O"], "did you mean resnet50"),
        (["--model.backbone", "resnt18"], "did you mean resnet18"),
        (["--model.freeze", "[body]"], "model.freeze: the backbone has no part 'body'"),
        (["--train.device", "cuda:7"], "train.device is cuda:7, but torch sees"),
        (["--train.device", "gpu"], "train.device must be auto, cpu, cuda or cuda:N, not gpu"),
        (["--train.ema_decay", "1"], "train.ema_decay must be in (0, 1), or none, not 1.0"),
        (["--train.schedule", "linear"], "train.schedule"),
        (["--train.precision", "16-mixed", "--train.device", "cpu"], "needs a GPU"),
        (["--model.weights", "nowhere.pt"], "there is no file nowhere.pt"),
    ],
)
def test_a_mistake_is_one_line(options, says, tmp_path, capsys):
    experiment = tmp_path / "digits.yaml"
    experiment.write_text(config_to_yaml(quick()))
    code = cli(["train", str(experiment), *options, "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert code == 2
    assert says in " ".join(said.split())
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("backbone", ["densenet121", "convnext_tiny"])
def test_images_that_are_too_small_for_a_network_are_one_line(backbone):
    with pytest.raises(ConfigError, match=rf"{backbone} does not accept images of 8 x 8"):
        setup(quick("--model.backbone", backbone, "--model.backbone_args", "{}"))

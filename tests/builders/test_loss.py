"""Runs with further loss terms: metrics, exact resumption, distillation from another run."""

import math
import shutil

import pytest
import torch

from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.runs.checkpoint import load_newest
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quick, quiet, records

PROXIES = (
    "[{name: ProxyAnchorLoss, lr_factor: 3.0}, {name: CenterLoss, features: nodes, weight: 0.1}]"
)
TWO = ["--train.epochs", "2", "--train.lr_milestones", "[]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a run whose loss terms have parameters."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return train(quick(*TWO, "--loss.terms", PROXIES), path, quiet())


def test_every_term_is_recorded(run):
    steps = [record for record in records(run) if "train/loss" in record]
    for record in steps:
        parts = record["train/loss_auxiliary"] + record["train/loss_nodes"]
        parts += record["train/loss_ProxyAnchorLoss"] + 0.1 * record["train/loss_CenterLoss"]
        assert record["train/loss"] == pytest.approx(parts, rel=1e-5)  # float32 sums
        assert record["lr/ProxyAnchorLoss"] == pytest.approx(3 * record["train/lr"])
    assert steps[-1]["train/loss_ProxyAnchorLoss"] < steps[0]["train/loss_ProxyAnchorLoss"]


def test_parameters_of_the_terms_are_resumed(run, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(run.path, cut)
    (cut / "summary.json").unlink()
    shutil.rmtree(max(cut.glob("checkpoints/step-*")))
    _, early = load_newest(cut / "checkpoints")
    resume(cut, quiet())
    again = RunFolder.open(cut)
    assert again.weights.read_bytes() == run.weights.read_bytes()
    assert records(again) == records(run)
    _, late = load_newest(cut / "checkpoints")
    assert any("proxies" in name for name in late["loss"])
    assert not any(torch.equal(late["loss"][name], early["loss"][name]) for name in late["loss"])


def test_clipping_includes_the_parameters_of_the_terms(tmp_path):
    heavy = "[{name: CenterLoss, weight: 1000}]"
    options = ("--train.epochs", "1", "--loss.terms", heavy, "--train.clip_norm", "1")
    run = train(quick(*options), tmp_path / "run", quiet())
    steps = [record for record in records(run) if "train/grad_norm" in record]
    for record in steps:
        parts = [record[f"grad_norm/{part}"] for part in ("backbone", "mpn", "heads", "loss")]
        assert parts[-1] > 0.1 * record["train/grad_norm"]
        # Parts are measured before clipping; float32 sums.
        assert record["train/grad_norm"] == pytest.approx(math.hypot(*parts), rel=1e-4)


def test_terms_do_not_change_the_initial_weights_of_the_model():
    plain, more = setup(quick()), setup(quick("--loss.terms", PROXIES))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, more.model.state_dict()[name]), name


def test_distillation_losses_decrease(run, tmp_path):
    terms = (
        f"[{{name: SoftTargetDistillation, args: {{teacher: {run.path}}}}}, "
        f"{{name: FeatureDistillation, args: {{teacher: {run.path}}}, features: nodes}}]"
    )
    taught = train(
        quick(*TWO, "--loss.terms", terms, "--train.seed", "1"), tmp_path / "student", quiet()
    )
    steps = [record for record in records(taught) if "train/loss" in record]
    name = "train/loss_FeatureDistillation"
    assert 0 < steps[-1][name] < steps[0][name]
    # With new heads and a teacher of two epochs this loss does not have to decrease.
    assert all(record["train/loss_SoftTargetDistillation"] > 0 for record in steps)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--loss.terms", "[{name: FeatureDistillation}]"], "teacher: RUN_DIR"),
        (["--model.embedding_dim", "16", "--loss.terms",
          "[{name: FeatureDistillation, args: {teacher: RUN}}]"], "of width 32, not 16"),
        (["--select", "val", "--data.val_classes", "0.4", "--loss.terms",
          "[{name: SoftTargetDistillation, args: {teacher: RUN}}]"], "classes"),
    ],
)  # fmt: skip
def test_unsuitable_teacher_is_a_one_line_error(run, more, message):
    with pytest.raises(ConfigError, match=message):
        setup(quick(*[word.replace("RUN}", f"{run.path}}}") for word in more]))


def test_teacher_of_other_classes_is_refused(tmp_path):
    fold = ("--select", "val", "--data.val_classes", "0.4", "--data.classes_per_batch", "3")
    teacher = train(quick("--train.epochs", "1", *fold), tmp_path / "teacher", quiet())
    term = f"[{{name: FeatureDistillation, args: {{teacher: {teacher.path}}}}}]"
    setup(quick(*fold, "--loss.terms", term))
    with pytest.raises(ConfigError, match="trained on other classes"):
        setup(quick(*fold, "--data.val_fold", "1", "--loss.terms", term))
    with pytest.raises(ConfigError, match="a teacher of"):
        quick(*fold, "--retrain", "true", "--loss.terms", term)


def test_arguments_must_be_mappings():
    for args in ("args: ", "args: [1]", "miner: TripletMarginMiner, miner_args: "):
        with pytest.raises(ConfigError, match="args"):
            quick("--loss.terms", f"[{{name: ContrastiveLoss, {args}}}]")


def test_a_loss_that_a_batch_does_not_suit_is_one_line(tmp_path):
    """SmoothAP wants classes of one size; the sampler draws a class twice at times."""
    walk = ("--data.sampler", "walk", "--loss.terms", "[{name: SmoothAPLoss}]")
    with pytest.raises(RunError, match="SmoothAPLoss cannot be computed for a batch"):
        train(quick(*walk), tmp_path / "run", quiet())


def test_a_teacher_of_other_pictures_is_told(run, caplog):
    term = f"[{{name: SoftTargetDistillation, args: {{teacher: {run.path}}}}}]"
    setup(quick("--data.transform_args", "{image_size: 8, resize: 12}", "--loss.terms", term))
    assert "other data.transform_args" in caplog.text


def test_a_term_on_nodes_needs_nodes():
    with pytest.raises(ConfigError, match="no refined nodes"):
        quick("--model.steps", "0", "--loss.terms", "[{name: SupConLoss, features: nodes}]")
    with pytest.raises(ConfigError, match="there is no loss"):
        quick("--model.steps", "0", "--loss.auxiliary_weight", "0")
    with pytest.raises(ConfigError, match=r"loss\.node_weight is 0: there is no loss"):
        quick("--loss.node_weight", "0", "--loss.auxiliary_weight", "0")

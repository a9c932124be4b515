"""A run of several processes is the run of one: history, scores, stopping, resuming, errors."""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ibc_pyg.cli import run as run_command
from ibc_pyg.data.loading.loader import train_loader
from ibc_pyg.errors import DatasetError, UserError
from ibc_pyg.inference.extract import extract
from ibc_pyg.parallel import launch
from ibc_pyg.parallel.processes import (
    all_gather_json,
    broadcast_from_main,
    raise_together,
    run_on_main,
    synchronised,
)
from ibc_pyg.runs.checkpoint import list_checkpoints
from ibc_pyg.runs.run_folder import RunFolder
from ibc_pyg.training import fit as fit_module
from ibc_pyg.training.experiment import setup
from ibc_pyg.training.faults.interrupt import TrainingInterrupted
from ibc_pyg.training.run import resume, train
from tests.helpers.digits_run import quick, quiet, records
from tests.helpers.processes import run_processes, torchrun_environment

NO_DROPOUT = [
    "--model.mpn_args",
    "{dropout_attention: 0.0, dropout_conv: 0.0, dropout_hidden: 0.0, dropout_mlp: 0.0}",
]


def brief(*more):
    options = ("--train.epochs", "1", "--train.device", "cpu", "--model.auxiliary_neck", "true")
    return quick(*options, *more)


def together(work, world, *args):
    return run_processes(work, world, *args, environment=torchrun_environment(world))


def train_whole(rank, world, out, *more):
    return str(train(brief(*more), Path(out), quiet()).path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(brief(*NO_DROPOUT), tmp_path_factory.mktemp("runs") / "alone", quiet()).path


@pytest.mark.parametrize("world", [2, 4])
def test_a_run_of_several_processes_is_that_of_one(alone, tmp_path, world):
    out = tmp_path / "several"
    assert together(train_whole, world, str(out), *NO_DROPOUT) == [str(out)] * world
    found, wanted = records(RunFolder(out)), records(RunFolder(alone))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        # Rounding adds up over 29 steps of RAdam, and a rank may change places by it.
        for name, value in other.items():
            assert one[name] == pytest.approx(value, rel=1e-3, abs=2e-3), name
    for one, other in zip(found[:3], wanted[:3], strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-5)
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in alone.iterdir())


@pytest.mark.parametrize(("world", "classes", "images"), [(4, 5, 6), (3, 4, 5)])
def test_shares_of_unequal_size_train_as_one(tmp_path, world, classes, images):
    """30 images are 8 + 8 + 7 + 7, as 54 are 14 + 14 + 13 + 13; 20 are 7 + 7 + 6."""
    shape = ("--data.classes_per_batch", str(classes), "--data.images_per_class", str(images))
    term = "[{name: MultiSimilarityLoss, weight: 0.5}]"
    options = (*NO_DROPOUT, *shape, "--loss.terms", term, "--track.statistics_every", "2")
    wanted = records(train(brief(*options), tmp_path / "one", quiet()))
    together(train_whole, world, str(tmp_path / "several"), *options)
    found = records(RunFolder(tmp_path / "several"))
    assert len(found) == len(wanted)
    for one, other in zip(found[:4], wanted[:4], strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_pairs_that_are_drawn_are_the_same_in_every_process(tmp_path):
    """A miner draws over the whole batch: the first process's draws are everybody's."""
    term = "[{name: TripletMarginLoss, miner: DistanceWeightedMiner}]"
    options = (*NO_DROPOUT, "--loss.terms", term)
    one = train(brief(*options), tmp_path / "one", quiet())
    together(train_whole, 2, str(tmp_path / "two"), *options)
    found, wanted = records(RunFolder(tmp_path / "two")), records(one)
    for ours, theirs in zip(found[:3], wanted[:3], strict=True):
        for name in ("train/loss_TripletMarginLoss", "train/loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)


def interrupt_after(steps):
    """Let this process alone be asked to stop in its step number `steps`."""
    whole = fit_module.train_step
    done = []

    def step(*args):
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(*args)

    fit_module.train_step = step


def interrupt_late():
    """Let the signal reach this process only when it stops already, because another was asked."""
    whole = fit_module.save_state

    def save(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return whole(*args)

    fit_module.save_state = save


def cut_and_resume(rank, world, folder):
    """A whole run, and one that the last process is asked to stop, resumed."""
    train(brief(), Path(folder) / "whole", quiet())
    step, save = fit_module.train_step, fit_module.save_state
    if rank == world - 1:
        interrupt_after(20)
    else:
        interrupt_late()
    try:
        train(brief(), Path(folder) / "cut", quiet())
        return "not stopped"
    except TrainingInterrupted:
        fit_module.train_step, fit_module.save_state = step, save
    steps = [path.name for path in list_checkpoints(Path(folder) / "cut" / "checkpoints")]
    resume(Path(folder) / "cut", quiet())
    return steps


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path):
    assert together(cut_and_resume, 2, str(tmp_path)) == [["step-00000020"]] * 2
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert records(RunFolder(whole)) == records(RunFolder(cut))
    weights, resumed = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def batches_and_descriptors(rank, world):
    """Labels of the first batches, descriptors of some rows, random numbers of dropout."""
    experiment = setup(brief())
    loader = train_loader(
        experiment.data.train_table, experiment.sampler, experiment.data.transform, seed=0
    )  # fmt: skip
    labels = [batch.labels.tolist() for batch, _ in zip(loader, range(3), strict=False)]
    rows = np.arange(100, 171)
    found = extract(experiment.fabric, experiment.model, experiment.data, rows, batch_size=16)
    return labels, found.rows.tolist(), found.vectors.tolist(), torch.rand(3).tolist()


def test_the_global_batch_is_a_pk_batch_and_evaluation_is_that_of_one_process():
    _, wanted_rows, wanted, _ = batches_and_descriptors(0, 1)
    for world in (2, 3 + 1):
        results = together(batches_and_descriptors, world)
        for step in range(3):
            joined = np.concatenate([labels[step] for labels, *_ in results])
            classes, counts = np.unique(joined, return_counts=True)
            assert len(classes) == 4
            assert set(counts) == {8}
        for _, rows, vectors, _ in results:
            assert rows == wanted_rows
            assert vectors == wanted  # to the last bit: batches are shared, not images
        assert len({tuple(draws) for *_, draws in results}) == world  # dropout


def fail_in_turns(rank, world):
    """What each process hears of a failure of one of them."""
    setup(brief())
    heard = []

    def fail(text):
        raise DatasetError(text)

    def unreadable():
        yield 1
        if rank == world - 1:
            fail("second batch of the last process")
        yield 2

    for work in (
        lambda: run_on_main(lambda: fail("the first one writes")),
        lambda: list(synchronised(unreadable())),
    ):
        try:
            work()
        except UserError as error:
            heard.append((type(error).__name__, str(error)))
    with contextlib.suppress(UserError), raise_together():
        if rank == 1:
            fail("heard by all")
        heard.append("went on")
    # After all that they still understand each other.
    return heard, broadcast_from_main(lambda: {"rank": rank}), all_gather_json(rank)


def test_what_fails_on_one_process_fails_on_all():
    results = together(fail_in_turns, 2)
    for rank, (heard, said, numbers) in enumerate(results):
        assert heard[0] == ("DatasetError", "the first one writes")
        assert heard[1] == ("DatasetError", "second batch of the last process")
        assert heard[2:] == (["went on"] if rank == 0 else [])
        assert said == {"rank": 0}
        assert numbers == [0, 1]


def start(rank, world, *words):
    """Exit code and what was said by the command line."""
    launch.PATIENCE = 0.0  # no torchrun is there that would end the wait for the first process
    said = sys.stderr = io.StringIO()
    return run_command(list(words)), said.getvalue()


@pytest.mark.parametrize(
    ("world", "fields", "line"),
    [
        (2, ["--data.classes_per_batch", "1", "--data.images_per_class", "32"], "start at most 1"),
        (2, ["--model.conv", "GCNConv"], "GCNConv cannot span several processes"),
        (2, ["--out", "HERE"], "already holds a run"),
    ],
)
def test_bad_input_is_one_line_of_the_first_process(alone, tmp_path, world, fields, line):
    out = alone if "HERE" in fields else tmp_path / "none"
    fields = [word for word in fields if word not in ("--out", "HERE")]
    experiment = alone / "config.yaml"
    results = together(start, world, "train", str(experiment), "--out", str(out), *fields)
    assert [code for code, _ in results] == [2] * world
    said = [text for _, text in results]
    assert line in said[0]
    assert said[0].startswith("error: ")
    assert said[0].count("\n") == 1
    assert out == alone or not out.exists()


def test_other_commands_refuse_several_processes(monkeypatch, capsys):
    for name, value in {**torchrun_environment(2), "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        assert run_command(["data", "list"]) == 2
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert capsys.readouterr().err == (
        "error: data runs in one process: start it without torchrun; "
        "only train and index work support several\n"
    )

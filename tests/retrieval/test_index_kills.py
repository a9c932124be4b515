"""kill -9 at any moment: the index opens, is clean, and ends as one that was never killed."""

import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time

import pytest

import ibc_pyg
from ibc_pyg.retrieval.update.fill import Pace
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.runs.run_folder import HOLDER, LOCK
from tests.helpers.index_pictures import FINISHED_RUN, content, save_pictures

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ibc_pyg.retrieval.index", "tests.helpers.index_pictures"])
BATCH = 4


def build(photos, path):
    """Build, or go on with a build."""
    try:
        ibc_pyg.Index.build(FINISHED_RUN, photos, path, batch_size=BATCH).close()
    except ibc_pyg.errors.RunError as error:
        # Killed between the last commit and the end of the process.
        if "already holds an index" not in str(error):
            raise


def sync(photos, path):
    with ibc_pyg.Index.open(path) as index:
        index.sync(batch_size=BATCH)


def add(photos, path):
    with ibc_pyg.Index.open(path) as index:
        index.add(photos.with_name("more"), batch_size=BATCH)


def remove(photos, path):
    """Remove what is still there of two classes, one after the other."""
    with ibc_pyg.Index.open(path) as index:
        for label in ("apple", "plum"):
            if any(entry.label == label for entry in index.catalogue):
                index.remove(label=label)


def compact(photos, path):
    with ibc_pyg.Index.open(path) as index:
        index.compact()


STEPS = (build, add, sync, remove, compact)
"""Work whose every step may be killed and repeated."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    photos = folder / "photos"
    save_pictures(photos, 40)
    (photos / "apple" / "0007.jpg").write_bytes(b"broken")
    shutil.copy(photos / "apple" / "0000.png", photos / "pear" / "copy.png")
    save_pictures(folder / "more", 15, first_seed=200)
    return photos


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The states after each step without kills, and the seconds that each took."""
    path, states, seconds = tmp_path_factory.mktemp("whole") / "index", [], []
    # The fork server imports the package first.
    assert run_killed(build, photos, path, None) == 0
    shutil.rmtree(path)
    for step in STEPS:
        began = time.monotonic()
        assert run_killed(step, photos, path, None) == 0
        seconds.append(time.monotonic() - began)
        states.append(state(path))
    return states, seconds


def state(path):
    with ibc_pyg.Index.open(path) as index:
        assert index.verify() == []
        return content(index)


def run_killed(step, photos, path, delay):
    """Run a step in a process; return its exit code, -9 if it was killed after `delay`."""
    process = CONTEXT.Process(target=_work, args=(step, photos, path))
    process.start()
    if delay is not None:
        process.join(delay)
        process.kill()
    process.join(100)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def _work(step, photos, path):
    os.environ["OMP_NUM_THREADS"] = "1"
    ibc_pyg.Index.pace = Pace(1, 0)
    step(photos, path)


def survive(photos, path, whole, seed, kills):
    """Kill every step `kills` times at random moments, then let it end; return the kills."""
    states, seconds = whole
    rng, killed = random.Random(seed), 0
    for step, expected, usual in zip(STEPS, states, seconds, strict=True):
        for _ in range(kills):
            killed += run_killed(step, photos, path, rng.uniform(0, usual)) == -signal.SIGKILL
            if (path / "catalogue.sqlite").exists():
                state(path)
        assert run_killed(step, photos, path, None) == 0
        assert state(path) == expected, step.__name__
        # The lock of a process that was killed is taken over by the next that writes.
        left = {file.name for file in path.iterdir()} - {"catalogue.sqlite", LOCK, HOLDER}
        assert {name[:8] for name in left} == {"vectors-"}, left
        assert len(left) == 1
    return killed


def test_every_step_dies_once_at_a_random_moment(photos, whole, tmp_path):
    survive(photos, tmp_path / "index", whole, seed=1, kills=1)


@pytest.mark.slow
def test_fifty_kills(photos, whole, tmp_path):
    killed = 0
    for seed in itertools.count():
        killed += survive(photos, tmp_path / str(seed), whole, seed, kills=3)
        if killed >= 50:
            break
    sys.stdout.write(f"\nsurvived {killed} kills\n")


MOMENTS = [
    ("ibc_pyg.retrieval.store.vectors:VectorWriter.append", 2, "before"),
    ("ibc_pyg.retrieval.store.vectors:VectorWriter.append", 2, "after"),
    ("ibc_pyg.retrieval.store.writer:add_contents", 2, "after"),
    ("ibc_pyg.retrieval.update.fill:put_name", 7, "after"),
    ("ibc_pyg.retrieval.store.writer:StoreWriter._reload", 3, "before"),
    ("ibc_pyg.retrieval.store.writer:StoreWriter.close", 1, "before"),
    ("ibc_pyg.retrieval.update.create:create", 1, "before"),
    ("ibc_pyg.retrieval.update.create:create", 1, "after"),
    ("ibc_pyg.retrieval.store.connection:os.fsync", 1, "before"),
]


@pytest.mark.parametrize(("target", "call", "when"), MOMENTS)
def test_a_build_that_dies_at_a_chosen_moment(photos, whole, tmp_path, target, call, when):
    process = CONTEXT.Process(
        target=_chosen, args=(build, photos, tmp_path / "index", target, call, when)
    )
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    ibc_pyg.Index.pace = Pace(1, 0)
    try:
        build(photos, tmp_path / "index")
    finally:
        ibc_pyg.Index.pace = Pace()
    assert state(tmp_path / "index") == whole[0][0]


@pytest.mark.parametrize(
    ("target", "call", "when"),
    [
        ("ibc_pyg.retrieval.store.vectors:VectorWriter.append", 1, "after"),
        ("ibc_pyg.retrieval.store.writer:write_meta", 1, "after"),
        ("ibc_pyg.retrieval.store.writer:StoreWriter._reload", 1, "before"),
        ("ibc_pyg.retrieval.store.writer:StoreWriter._sweep", 2, "before"),
        ("ibc_pyg.retrieval.store.connection:Connection.vacuum", 1, "before"),
        ("ibc_pyg.retrieval.store.connection:Connection.vacuum", 1, "after"),
    ],
)
def test_a_compaction_that_dies_at_a_chosen_moment(photos, tmp_path, target, call, when):
    path = tmp_path / "index"
    with ibc_pyg.Index.build(FINISHED_RUN, photos, path) as index:
        index.remove(label="apple")
        whole = shutil.copytree(path, tmp_path / "whole")
    process = CONTEXT.Process(target=_chosen, args=(compact, photos, path, target, call, when))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    state(path)
    for each in (path, whole):
        compact(photos, each)
    assert state(path) == state(whole)
    assert len(list(path.glob("vectors-*"))) == 1


def _chosen(step, photos, path, target, call, when):
    from tests.helpers.chaos_runs import Kill

    Kill("chosen", target, call, when).arm()
    _work(step, photos, path)


def test_a_build_that_is_interrupted_again_and_again(photos, whole, tmp_path, monkeypatch):
    """Ctrl-C, in the process itself."""
    monkeypatch.setattr(ibc_pyg.Index, "pace", Pace(1, 0))
    forward, calls = ibc_pyg.Embedder._forward, itertools.count(1)

    def interrupted(self, rows, pixels):
        if rows and next(calls) % 3 == 0:
            raise KeyboardInterrupt
        return forward(self, rows, pixels)

    monkeypatch.setattr(ibc_pyg.Embedder, "_forward", interrupted)
    for _ in range(20):
        try:
            build(photos, tmp_path / "index")
            break
        except KeyboardInterrupt:
            state(tmp_path / "index")
    assert state(tmp_path / "index") == whole[0][0]
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert index.sync() == SyncReport(unchanged=41, skipped=1)

"""Placement of runs on GPUs that the test makes up."""

import os
import threading

import pytest

from ibc_pyg.config import Config
from ibc_pyg.jobs import pool, worker
from ibc_pyg.jobs.devices import VISIBLE, Placement, visible_gpus
from ibc_pyg.jobs.pool import Job, run_jobs
from ibc_pyg.jobs.worker import Outcome


@pytest.mark.parametrize(
    ("environment", "count", "names"),
    [
        ({}, 0, []),
        ({}, 3, ["0", "1", "2"]),
        ({VISIBLE: "2,5"}, 2, ["2", "5"]),
        ({VISIBLE: " GPU-a , GPU-b"}, 2, ["GPU-a", "GPU-b"]),
        ({VISIBLE: "2,5"}, 1, ["2"]),  # torch sees fewer than are named
        ({VISIBLE: ""}, 0, []),
    ],
)
def test_names_of_gpus(environment, count, names):
    assert visible_gpus(environment, count) == names


def test_a_gpu_has_one_run_and_is_free_after_it():
    placement = Placement(["4", "7"], 2)
    with placement.gpu("auto") as one:
        with placement.gpu("cuda") as other:
            assert {one, other} == {"4", "7"}
            with placement.gpu("cpu") as none, placement.gpu("cuda:1") as fixed:
                assert (none, fixed) == (None, None)
        with placement.gpu("auto") as again:
            assert again == other


def test_more_runs_than_gpus_share_them():
    placement = Placement(["0", "1"], 4)
    blocks = [placement.gpu("auto") for _ in range(4)]
    assert sorted(block.__enter__() for block in blocks) == ["0", "0", "1", "1"]


def test_with_one_gpu_nothing_is_set():
    with Placement(["0"], 2).gpu("auto") as gpu:
        assert gpu is None


def test_runs_side_by_side_are_on_different_gpus(tmp_path, monkeypatch):
    """Without processes: the orders that they would get."""
    orders, both = [], threading.Barrier(2)

    def outcome(self, job, log, gpu, *, check=False):
        orders.append((job.name, gpu))
        both.wait(10)
        return Outcome("finished")

    monkeypatch.setattr(pool._Pool, "_outcome", outcome)
    jobs = [Job(f"run {number}", tmp_path / str(number), Config()) for number in range(4)]
    said = []
    assert (
        run_jobs(jobs, workers=2, gpus=["0", "1"], report=lambda job, what: said.append(what)) == []
    )
    assert sorted(gpu for _, gpu in orders[:2]) == ["0", "1"]
    assert sorted(gpu for _, gpu in orders) == ["0", "0", "1", "1"]
    assert "started on GPU 0" in said


def test_a_run_sees_its_gpu_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "")  # so that it is restored after the test
    monkeypatch.delenv(VISIBLE)
    seen = []
    monkeypatch.setattr(worker, "_run", lambda *unused: seen.append(os.environ.get(VISIBLE)))
    for name in ("setsid", "dup2"):
        monkeypatch.setattr(worker.os, name, lambda *unused: None)
    for name in ("_stop_with_parent", "log_lines"):
        monkeypatch.setattr(worker, name, lambda *unused: None)
    monkeypatch.setattr(worker.multiprocessing, "set_start_method", lambda *unused, **more: None)
    monkeypatch.setattr(worker.signal, "signal", lambda *unused: None)
    monkeypatch.setattr(worker.torch, "set_num_threads", lambda count: None)

    class Results:
        def send(self, outcome):
            pass

    for gpu in (None, "3"):
        order = worker.Order(tmp_path, Config(), tmp_path / "log", resume=False, threads=1,
                             trust_code=False, start_method="spawn", gpu=gpu)  # fmt: skip
        worker.work(order, threading.Event(), Results())
    assert seen == [None, "3"]

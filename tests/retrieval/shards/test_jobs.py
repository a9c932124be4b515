"""The merged index is that of one worker, whichever workers died; wrong parts are named."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rich.console import Console

import ibc_pyg
from ibc_pyg.cli import run
from ibc_pyg.errors import ConfigError, RunError
from ibc_pyg.retrieval.shards.job import Job, plan_job
from ibc_pyg.retrieval.shards.merge import merge_job
from ibc_pyg.retrieval.shards.share import Share
from ibc_pyg.retrieval.shards.work import open_job_model, work_on
from tests.helpers.index_pictures import FINISHED_RUN, content, save_picture, save_pictures

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ibc_pyg.retrieval.shards.work", "ibc_pyg.retrieval.index"])
QUIET = Console(quiet=True)
SHARDS = 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photos = tmp_path_factory.mktemp("job") / "photos"
    save_pictures(photos, 60)
    (photos / "apple" / "0007.jpg").write_bytes(b"broken")
    # A content in two parts, and one twice in a part.
    shutil.copy(photos / "apple" / "0000.png", photos / "plum" / "zz.png")
    shutil.copy(photos / "apple" / "0003.png", photos / "apple" / "0004.png")
    return photos


@pytest.fixture(scope="module")
def embedder():
    return ibc_pyg.load(FINISHED_RUN)


@pytest.fixture
def job(photos, tmp_path):
    return plan_job(FINISHED_RUN, photos, tmp_path / "job", SHARDS, batch_size=4)


@pytest.fixture(scope="module")
def whole(photos, embedder, tmp_path_factory):
    """What one worker makes: bytes of the parts, and the index."""
    folder = tmp_path_factory.mktemp("whole")
    job = plan_job(FINISHED_RUN, photos, folder / "job", SHARDS, batch_size=4)
    work_on(job, embedder, Share(), QUIET)
    return parts(job), merged(job, folder / "index")


def parts(job):
    return {each.name: each.read_bytes() for each in (job.folder / "parts").glob("*")}


def merged(job, path):
    merge_job(job, path, console=QUIET)
    with ibc_pyg.Index.open(path) as index:
        assert index.verify() == []
        assert index.complete
        return content(index)


def work(folder, share):
    """Work in a process of its own."""
    job = Job.open(folder)
    work_on(job, open_job_model(job), Share.parse(share), QUIET)


def start(job, shares):
    workers = [CONTEXT.Process(target=work, args=(job.folder, each)) for each in shares]
    for each in workers:
        each.start()
    return workers


def test_four_workers_two_killed_and_restarted_with_three(job, whole):
    workers = start(job, ["0/4", "1/4", "2/4", "3/4"])
    patience = time.monotonic() + 120
    while not list((job.folder / "parts").glob("0*")) and time.monotonic() < patience:
        time.sleep(0.001)
    for each in workers[:2]:
        os.kill(each.pid, signal.SIGKILL)
    for each in workers:
        each.join()
    assert [each.exitcode for each in workers[2:]] == [0, 0]
    again = start(job, ["0/3", "1/3", "2/3"])
    for each in again:
        each.join()
    assert [each.exitcode for each in again] == [0, 0, 0]
    own_parts, own_index = whole
    assert parts(job) == own_parts
    assert merged(job, job.folder.parent / "index") == own_index


@pytest.mark.parametrize("shares", [[Share(2, 3), Share(0, 3), Share(1, 3)], [Share(), Share()]])
def test_any_order_of_shares_gives_the_same_bytes(job, embedder, whole, shares):
    reports = [work_on(job, embedder, share, QUIET) for share in shares]
    assert sum(each.done for each in reports) == SHARDS
    assert parts(job) == whole[0]
    kept = sum(work_on(job, embedder, share, QUIET).kept for share in shares[:3])
    assert kept in (SHARDS, 2 * SHARDS)
    assert parts(job) == whole[0]


def test_one_part_is_the_build_of_one_process(photos, embedder, tmp_path):
    job = plan_job(FINISHED_RUN, photos, tmp_path / "job", 1, batch_size=4)
    work_on(job, embedder, Share(), QUIET)
    with ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "built", batch_size=4) as index:
        built = content(index)
    assert merged(job, tmp_path / "merged") == built
    with ibc_pyg.Index.open(tmp_path / "merged") as index:
        assert index.sync().unchanged == 62  # a later sync reads and embeds nothing


def test_many_parts_are_the_build_to_rounding(photos, whole, tmp_path):
    with ibc_pyg.Index.build(FINISHED_RUN, photos, tmp_path / "built", batch_size=4) as index:
        built = content(index)
    vectors = [np.frombuffer(each.pop("vectors"), np.float32) for each in (built, dict(whole[1]))]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    assert built["names"] == whole[1]["names"]
    assert built["skipped"] == whole[1]["skipped"]


def test_a_picture_that_changes_after_the_plan_is_embedded_as_it_is(job, embedder, photos):
    kept = (photos / "pear" / "0001.png").read_bytes()
    try:
        save_picture(photos / "pear" / "0001.png", 900)
        work_on(job, embedder, Share(), QUIET)
        merge_job(job, job.folder.parent / "index", console=QUIET)
        with ibc_pyg.Index.open(job.folder.parent / "index") as index:
            assert index.sync().unchanged == 62
    finally:
        (photos / "pear" / "0001.png").write_bytes(kept)


class TestWrongParts:
    @pytest.fixture
    def done(self, job, embedder):
        work_on(job, embedder, Share(), QUIET)
        return job

    def refused(self, job, message):
        out = job.folder.parent / "index"
        with pytest.raises(RunError, match=message):
            merge_job(job, out, console=QUIET)
        return out

    def test_missing(self, done):
        done.part_file(3).unlink()
        done.part_file(5).unlink()
        out = self.refused(done, "parts 3, 5 are of 8 missing; run: python run.py index work")
        assert not out.exists()

    def test_doubled(self, done):
        shutil.copy(done.part_file(3), done.folder / "parts" / "000003 (1).safetensors")
        self.refused(done, r"part 3 is there twice: 000003 \(1\).safetensors and 000003.saf")

    def test_in_place_of_another(self, done):
        shutil.copy(done.part_file(3), done.part_file(4))
        self.refused(done, "part 3 is there twice: 000003.safetensors and 000004.safetensors")

    def test_renamed(self, done):
        done.part_file(3).rename(done.folder / "parts" / "x.safetensors")
        self.refused(done, "x.safetensors is part 3; rename it to 000003.safetensors")

    def test_foreign(self, done, photos, embedder, tmp_path):
        other = plan_job(FINISHED_RUN, photos, tmp_path / "other", SHARDS, batch_size=5)
        work_on(other, embedder, Share(), QUIET)
        shutil.copy(other.part_file(2), done.part_file(2))
        self.refused(done, "000002.safetensors is a part of another job")
        assert work_on(done, embedder, Share(), QUIET).done == 1
        merge_job(done, tmp_path / "index", console=QUIET)

    @pytest.mark.parametrize("size", [0, 7, 300, -1])
    def test_cut_off(self, done, embedder, size):
        path = done.part_file(1)
        path.write_bytes(path.read_bytes()[:size])
        self.refused(done, "000001.safetensors is damaged .*; remove it")
        assert work_on(done, embedder, Share(), QUIET).done == 1
        merge_job(done, done.folder.parent / "index", console=QUIET)

    def test_merge_goes_on_after_a_kill(self, done, whole, monkeypatch):
        from ibc_pyg.retrieval.shards import merge

        def killed(writer, root, shard, content, *, taken=merge._take):
            if shard == 4:
                raise KeyboardInterrupt
            return taken(writer, root, shard, content)

        out = done.folder.parent / "index"
        with monkeypatch.context() as patch:
            patch.setattr(merge, "_take", killed)
            with pytest.raises(KeyboardInterrupt):
                merge_job(done, out, console=QUIET)
        assert merged(done, out) == whole[1]
        with pytest.raises(RunError, match="already holds an index"):
            merge_job(done, out, console=QUIET)


def test_another_model_is_refused(photos, tmp_path):
    plan_job(FINISHED_RUN, photos, tmp_path / "job", 2)
    other = ibc_pyg.load(FINISHED_RUN)
    with np.errstate(all="ignore"):
        next(other.backbone.parameters()).data.add_(1)
    with pytest.raises(RunError, match=r"was planned for .*, not for"):
        open_job_model(Job.open(tmp_path / "job"), other)


def test_shares():
    assert Share.parse("2/3") == Share(2, 3)
    for text in ("3/3", "1", "a/b", "-1/2", "0/0", "1/2/3"):
        with pytest.raises(ConfigError, match="i/n"):
            Share.parse(text)
    assert Share.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) == Share()
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2"}
    assert Share.from_environment(torchrun) == Share(1, 2)

    def slurm(task, count, first, last):
        names = ("ID", "COUNT", "MIN", "MAX")
        values = zip(names, (task, count, first, last), strict=True)
        return Share.from_environment({f"SLURM_ARRAY_TASK_{n}": str(v) for n, v in values})

    assert slurm(0, 4, 0, 3) == Share(0, 4)
    assert slurm(8, 8, 1, 8) == Share(7, 8)
    assert slurm(6, 3, 2, 6) == Share(2, 3)
    assert slurm(5, 1, 5, 5) == Share()
    with pytest.raises(ConfigError, match="not evenly numbered"):
        slurm(3, 3, 1, 7) and slurm(3, 2, 0, 3)
    with pytest.raises(ConfigError, match="not evenly numbered"):
        slurm(1, 3, 1, 6)


def test_the_commands(photos, tmp_path, capsys, monkeypatch):
    job, index = tmp_path / "job", tmp_path / "index"
    assert (
        run(["index", "plan", str(FINISHED_RUN), str(photos), "--shards", "3", "--out", str(job)])
        == 0
    )
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    for name, value in (("COUNT", "2"), ("MIN", "0"), ("MAX", "1")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert run(["index", "work", str(job)]) == 0
    assert "share 1/2: 1 parts done" in capsys.readouterr().out
    assert run(["index", "merge", str(job), "--out", str(index)]) == 2
    assert "parts 0, 2 are of 3 missing" in capsys.readouterr().err
    assert run(["index", "work", str(job), "--shard", "0/1"]) == 0
    assert run(["index", "merge", str(job), "--out", str(index)]) == 0
    assert run(["search", str(index), str(photos / "apple" / "0000.png")]) == 0
    assert (
        run(["index", "plan", str(FINISHED_RUN), str(photos), "--shards", "3", "--out", str(job)])
        == 2
    )
    assert "already holds a job" in capsys.readouterr().err
    assert run(["index", "work", str(tmp_path)]) == 2
    assert (
        run(
            [
                "index",
                "plan",
                str(FINISHED_RUN),
                str(photos),
                "--shards",
                "99",
                "--out",
                str(tmp_path / "j"),
            ]
        )
        == 2
    )
    assert "at most 63" in capsys.readouterr().err


def test_torchrun_starts_workers_without_a_group(photos, tmp_path):
    job = plan_job(FINISHED_RUN, photos, tmp_path / "job", 4)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run(
        [*command, "-m", "ibc_pyg", "index", "work", str(job.folder)], check=True, timeout=300
    )
    assert len(parts(job)) == 4

"""A full disk, read-only folders: one line, and the earlier checkpoint stays whole."""

import errno
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from functools import partial

import pytest

from ibc_pyg.runs.checkpoint import list_checkpoints, load_newest
from tests.helpers.chaos_runs import (
    RELOADS,
    Kill,
    finish,
    new,
    outcome,
    resuming,
    start,
    train_whole,
)

OPTIONS = RELOADS | {"--train.checkpoint_every": "1", "--track.report": "false"}
LATER = Kill("step", "ibc_pyg.training.fit:train_step", 30)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run, _ = train_whole(OPTIONS, tmp_path_factory.mktemp("whole") / "0")
    return outcome(run)


def mounted(*arguments):
    """Mount something; skip the test where that is not allowed."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder):
    folder.mkdir()
    mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(folder):
    """Let nothing be written in a folder, not even by root."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mounted("--bind", folder, folder)
    try:
        mounted("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def cut_run(folder, out):
    """Train into the second epoch, to a kill; return the newest checkpoint as it is."""
    assert finish(start(new(OPTIONS, out, folder / "e.yaml"), kill=LATER)) == -9
    return contents(out)


def contents(out):
    (path,) = list_checkpoints(out / "checkpoints")
    return {file.name: file.read_bytes() for file in path.iterdir()}


def fails(out, log, prepare=None):
    """Resume a run that must stop with code 2; return its one line."""
    assert finish(start(resuming(out), prepare=prepare, log=log)) == 2, log.read_text()
    errors = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, log.read_text()
    assert "Traceback" not in log.read_text()
    return errors[0]


def ends_as_if_nothing_had_been(out, whole, log):
    assert finish(start(resuming(out), log=log)) == 0, log.read_text()
    assert outcome(out) == whole


@pytest.mark.parametrize("left", [0, 100_000])
def test_a_full_disk(whole, tmp_path, left):
    """Nothing can be written, or all but a whole checkpoint."""
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "run"
        before = cut_run(tmp_path, out)
        size = sum(map(len, before.values()))
        assert size > 100_000, "a checkpoint must not fit"
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(free - left))
        line = fails(out, tmp_path / "log")
        assert "cannot be written: No space left on device" in line
        assert contents(out) == before
        assert load_newest(out / "checkpoints")[0] > 0
        assert not list(out.glob("checkpoints/.*"))
        (disk / "ballast").unlink()
        ends_as_if_nothing_had_been(out, whole, tmp_path / "log")


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_checkpoint_that_grows_too_large(whole, tmp_path):
    """The kernel cuts the write short in its middle."""
    out = tmp_path / "run"
    before = cut_run(tmp_path, out)
    half = len(before["tensors.safetensors"]) * 3 // 4
    line = fails(out, tmp_path / "log", prepare=partial(limit, half))
    assert f"cannot be written: {os.strerror(errno.EFBIG)}" in line
    assert "checkpoints" in line
    assert contents(out) == before
    assert not list(out.glob("checkpoints/.*"))
    ends_as_if_nothing_had_been(out, whole, tmp_path / "log")


@pytest.mark.parametrize("where", [".", "checkpoints"])
def test_a_read_only_folder(whole, tmp_path, where):
    out = tmp_path / "run"
    before = cut_run(tmp_path, out)
    with read_only(out / where):
        line = fails(out, tmp_path / "log")
        assert str(out / where).removesuffix("/.") in line
        assert os.strerror(errno.EROFS if os.geteuid() == 0 else errno.EACCES) in line
        assert contents(out) == before
    ends_as_if_nothing_had_been(out, whole, tmp_path / "log")


def test_a_new_run_in_a_read_only_folder(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    log = tmp_path / "log"
    with read_only(folder):
        arguments = new(OPTIONS, folder / "run", tmp_path / "e.yaml")
        assert finish(start(arguments, log=log)) == 2
    assert f"error: {folder / 'run'} cannot be written" in log.read_text()

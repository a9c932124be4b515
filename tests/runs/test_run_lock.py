"""One training at a time works in a folder, and a killed one leaves no lock behind."""

import errno
import json
import os
import signal
import stat

import filelock
import pytest

from ibc_pyg.cli import run as cli
from ibc_pyg.config.files.yaml_file import config_to_yaml
from ibc_pyg.errors import InUseError, RunError
from ibc_pyg.runs.run_folder import HOLDER, LOCK, RunFolder
from ibc_pyg.runs.run_lock import FolderLock, locked
from tests.helpers.digits_run import quick


def forked(work):
    """Call `work` in a forked process, which then waits; return its id once the call is done."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(done, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return child


def killed(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_the_second_process_is_told_who_has_the_folder_until_that_is_killed(tmp_path):
    lock, other = FolderLock(tmp_path), []

    def hold():
        other.append(FolderLock(tmp_path))
        other[0].acquire()

    child = forked(hold)
    try:
        with pytest.raises(InUseError) as caught:
            lock.acquire()
        said = str(caught.value)
        assert f"process {child} on {os.uname().nodename} since 20" in said
        assert "\n" not in said
    finally:
        killed(child)
    lock.acquire()
    assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_second_lock_in_the_same_process_is_refused(tmp_path):
    with locked(tmp_path):
        with pytest.raises(InUseError), locked(tmp_path):
            pass
        assert (tmp_path / HOLDER).is_file()
    with locked(tmp_path):
        pass


def test_a_process_forked_from_the_holder_neither_keeps_nor_releases_the_lock(tmp_path):
    """As the workers of a data loader."""
    held = []

    def hold_and_fork():
        held.append(FolderLock(tmp_path))
        held[0].acquire()
        ready, done = os.pipe()
        if os.fork() == 0:
            os.write(done, b"x")  # the lock is given up before this
            signal.alarm(20)
            signal.pause()
        assert os.read(ready, 1) == b"x"

    child = forked(hold_and_fork)
    with pytest.raises(InUseError):
        FolderLock(tmp_path).acquire()
    killed(child)
    again = FolderLock(tmp_path)
    again.acquire()
    again.release()


def test_without_a_record_of_the_holder_the_folder_is_in_use_all_the_same(tmp_path):
    with locked(tmp_path):
        (tmp_path / HOLDER).write_text("{")
        with pytest.raises(InUseError, match="in use by another process"):
            FolderLock(tmp_path).acquire()


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks"), NotImplementedError("none")])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog, error):
    def without(*arguments, **options):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", without)
    with locked(tmp_path):
        pass
    assert "cannot be locked" in caplog.text
    assert "let no other process write to it" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file cannot be written"), locked(tmp_path / "file"):
        pass


def test_a_link_in_place_of_the_lock_is_refused_and_its_target_kept(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK).symlink_to(target)
    with pytest.raises(RunError, match=r"\.lock is a link"), locked(folder):
        pass
    assert target.read_text() == "kept"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_files_have_the_permissions_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with locked(tmp_path):
            found = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert found == {LOCK: mode, HOLDER: mode}


def test_of_the_processes_of_torchrun_the_main_one_has_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        with locked(tmp_path):
            assert (tmp_path / LOCK).exists() == (rank == 0)


def test_commands_say_that_the_folder_is_in_use(tmp_path, capsys):
    run = RunFolder.create(tmp_path / "run", config_yaml=config_to_yaml(quick()))
    experiment = tmp_path / "e.yaml"
    experiment.write_text("select: last\n")
    before = {each.name for each in run.path.iterdir()}
    with locked(run.path):
        assert cli(["train", "--resume", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {run.path} is in use by process {os.getpid()} on ")
    assert error.count("\n") == 1
    assert {each.name for each in run.path.iterdir()} == before
    grid = tmp_path / "grid"
    grid.mkdir()
    with locked(grid):
        assert cli(["compare", str(experiment), "--out", str(grid)]) == 2
        assert "grid is in use by process" in capsys.readouterr().err

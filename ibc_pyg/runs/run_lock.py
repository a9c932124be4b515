"""Lock of a folder that a training, a comparison or a sweep works in."""

from __future__ import annotations

import errno
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ibc_pyg.errors import InUseError, RunError, printable, reason
from ibc_pyg.files import read_json, refuse_link, write_json
from ibc_pyg.parallel.launch import Launch
from ibc_pyg.parallel.processes import is_distributed, run_on_main
from ibc_pyg.runs.run_folder import HOLDER, LOCK

_logger = logging.getLogger(__name__)
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class FolderLock:
    """Lock of a folder, which the operating system releases when the process ends in any way.

    `.lock` is the locked file, and `.lock.json` names the process; both are removed with the lock.
    Where the file system has no locks, there is a warning instead.

    Args:
        folder: An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InUseError: If another process has it; that process is named.
            RunError: If the folder cannot be written.
        """
        refuse_link(self.folder / LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InUseError(
                f"{printable(self.folder)} is in use by {self._holder()}; wait until it ends, or "
                "stop it"
            ) from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _UNSUPPORTED:
                raise RunError(
                    f"{printable(self.folder)} cannot be written: {reason(error)}"
                ) from error
            _logger.warning(
                "%s cannot be locked (%s); let no other process write to it",
                self.folder,
                reason(error),
            )
        try:
            self._record()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock; may be called without having it."""
        if self._lock.is_locked:
            for name in (HOLDER, LOCK):
                with suppress(OSError):
                    (self.folder / name).unlink()
        self._lock.release()

    def _record(self) -> None:
        if not self._lock.is_locked:
            return
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        write_json(
            self.folder / HOLDER, {"pid": os.getpid(), "host": platform.node(), "since": now}
        )
        # filelock may give its file other permissions than the umask allows.
        with suppress(OSError):
            mode = (self.folder / HOLDER).stat().st_mode & 0o777
            (self.folder / LOCK).chmod(mode)

    def _holder(self) -> str:
        try:
            held = read_json(self.folder / HOLDER)
        except RunError:
            return "another process"
        pid, host, since = (str(held.get(name))[:60] for name in ("pid", "host", "since"))
        return printable(f"process {pid} on {host} since {since}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder within the block; of several processes, the main one holds it.

    Raises:
        RunError: As `FolderLock.acquire`.
    """
    lock = FolderLock(folder)
    if is_distributed():
        run_on_main(lock.acquire)
    elif Launch.from_environment().rank == 0:
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

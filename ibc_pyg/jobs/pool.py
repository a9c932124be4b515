"""Runs side by side, each in a process that trains one after another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import config_to_yaml


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: What it is called in messages.
        path: Its run folder; the log lies beside it, as FOLDER.log.
        config: Its experiment.
    """

    name: str
    path: Path
    config: Config

    @property
    def log(self) -> Path:
        """What the run prints."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def finished(self) -> bool:
        """Whether the run is there."""
        return (self.path / "summary.json").is_file()

    @property
    def cut(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return not self.finished and any(self.path.glob("checkpoints/step-*"))


@dataclass(frozen=True)
class JobFailure:
    """Why a run did not end.

    Attributes:
        task: The run.
        message: One line.
        final: Whether the run itself said so, as of a loss that is not finite: another try would
            end in the same way.
    """

    task: Job
    message: str
    final: bool = False


def run_jobs(
    tasks: Sequence[Job],
    *,
    workers: int,
    threads: int | None = None,
    trust_code: bool = False,
    report: Callable[[Job, str], None],
) -> list[JobFailure]:
    """Do every task, in this order; what is finished is skipped, what was cut is resumed.

    Args:
        tasks: What to run.
        workers: How many run side by side.
        threads: CPU threads of each; None shares the processor's among them.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.
        report: Called with each task and what became of it, from several threads.

    Returns:
        Those that failed; the others have run to their end.

    Raises:
        KeyboardInterrupt: If the user stopped it (Ctrl-C or SIGTERM); what was running has written
            a checkpoint.
    """
    queue = deque(tasks)
    failures: list[JobFailure] = []
    threads = threads or max(1, (os.cpu_count() or 1) // workers)
    pool = [_Worker(threads, trust_code) for _ in range(workers)]
    stopped = threading.Event()

    def work(worker: _Worker, end: threading.Event) -> None:
        try:
            while not stopped.is_set():
                try:
                    task = queue.popleft()
                except IndexError:
                    return
                if task.finished:
                    report(task, "done before")
                elif failure := _attempt(worker, task, report, stopped):
                    failures.append(failure)
        finally:
            worker.close()
            end.set()

    # Not by `join`: one that Ctrl-C has interrupted takes its thread for ended.
    ended = [threading.Event() for _ in pool]
    served = [
        threading.Thread(target=work, args=(worker, end))
        for worker, end in zip(pool, ended, strict=True)
    ]
    terminated = _interrupt_on_sigterm()
    try:
        for thread in served:
            thread.start()
        _wait(ended)
    except KeyboardInterrupt:
        stopped.set()
        begun = [end for thread, end in zip(served, ended, strict=True) if thread.ident is not None]
        for worker in pool:
            worker.interrupt()
        try:
            _wait(begun)
        except KeyboardInterrupt:
            for worker in pool:
                worker.kill()
            _wait(begun)
        raise
    finally:
        if terminated is not None:
            signal.signal(signal.SIGTERM, terminated)
    return failures


def _attempt(
    worker: _Worker, task: Job, report: Callable[[Job, str], None], stopped: threading.Event
) -> JobFailure | None:
    report(task, "resumed" if task.cut else "started")
    try:
        task.path.parent.mkdir(parents=True, exist_ok=True)
        answer = worker.run(task)
    except OSError as error:
        return JobFailure(task, str(error))
    if answer is None:
        if stopped.is_set():
            return None
        lines = task.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        failure = JobFailure(task, f"its process ended: {lines[-1] if lines else 'killed'}")
    elif answer["status"] == "failed":
        failure = JobFailure(task, str(answer["message"]), bool(answer["final"]))
    else:
        report(task, str(answer["status"]))
        return None
    report(task, f"failed: {failure.message}")
    return failure


class _Worker:
    """The other side of `ibc_pyg.jobs.worker`; started with its first task."""

    def __init__(self, threads: int, trust_code: bool) -> None:
        self.trust_code = trust_code
        self.threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._asked = False
        self._lock = threading.Lock()

    def run(self, task: Job) -> dict[str, object] | None:
        """Return the answer; None if the process died, or was to stop before it began."""
        process = self._order(task)
        line = ""
        if process is not None:
            assert process.stdout is not None
            line = process.stdout.readline()
        if not line:
            if process is not None:
                process.wait()
            return None
        answer: dict[str, object] = json.loads(line)
        return answer

    def _order(self, task: Job) -> subprocess.Popen[str] | None:
        order = {
            "config": config_to_yaml(task.config),
            "out": str(task.path),
            "log": str(task.log),
            "resume": task.cut,
            "argv": sys.argv,
            "trust_code": self.trust_code,
        }
        with self._lock:
            if self._asked:
                return None
            if self._process is None or self._process.poll() is not None:
                with task.log.open("w", encoding="utf-8") as log:
                    self._process = _start(self.threads, log)
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return None
            return self._process

    def interrupt(self) -> None:
        """Ask the run to stop behind a checkpoint, and begin no other."""
        with self._lock:
            self._asked = True
            if self._process is None or self._process.poll() is not None:
                return
            self._process.send_signal(signal.SIGINT)
            # Signals may be ignored while it still imports; the end of its input is not.
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                return

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """Let the process end."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process.wait()


def _start(threads: int, log: IO[str]) -> subprocess.Popen[str]:
    # The package must be found wherever it lies.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "ibc_pyg.jobs.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        # Ctrl-C comes from this process alone, once.
        start_new_session=True,
    )


def _wait(ended: Sequence[threading.Event]) -> None:
    for end in ended:
        end.wait()


def _interrupt_on_sigterm() -> Callable[[int, FrameType | None], object] | int | None:
    """Treat SIGTERM as Ctrl-C; return the earlier handler."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, interrupt)

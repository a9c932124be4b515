"""Runs side by side, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from ibc_pyg.config import Config
from ibc_pyg.config.plugged import plugged_sources
from ibc_pyg.jobs.devices import Placement, visible_gpus
from ibc_pyg.jobs.worker import Order, Outcome, work
from ibc_pyg.runs.source_record import digests

SERVER_ENVIRONMENT = {
    # Makes glibc keep freed memory, which the next training step asks for again.
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_MMAP_MAX_": "0",
    # Libraries warn while the server imports them, on the user's terminal.
    "PYTHONWARNINGS": "ignore",
}

PROGRESS_SECONDS = 15.0
"""Time between two looks at the progress of a run."""

Report = Callable[["Job", str], None]


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: Name in messages.
        path: Run folder; the log is beside it, as FOLDER.log.
        config: Experiment.
    """

    name: str
    path: Path
    config: Config

    @property
    def log(self) -> Path:
        """File of everything the run prints."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / "summary.json").is_file()

    @property
    def resumable(self) -> bool:
        """Whether the run is incomplete and has a checkpoint."""
        return not self.finished and any(self.path.glob("checkpoints/step-*"))


@dataclass(frozen=True)
class JobFailure:
    """The reason why a run failed.

    Attributes:
        job: The run.
        message: One line.
        final: Whether another attempt would fail in the same way, as after a divergence.
    """

    job: Job
    message: str
    final: bool = False


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    threads: int | None = None,
    trust_code: bool = False,
    report: Report,
    gpus: Sequence[str] | None = None,
) -> list[JobFailure]:
    """Run all jobs in this order; finished ones are skipped, interrupted ones are resumed.

    A server process imports the package once, and each run is forked from it: a run has a process
    of its own without the seconds that the import takes.

    Args:
        jobs: The runs.
        workers: Number of runs side by side.
        threads: CPU threads of each run; None divides the cores among the workers.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.
        report: Called with each job and its status, and from time to time with a line of its
            progress, `train 20/400`; from several threads.
        gpus: GPUs, by the names that CUDA_VISIBLE_DEVICES takes, of which each run gets one; None
            takes those that torch sees.

    Returns:
        The jobs that failed; all others are finished.

    Raises:
        KeyboardInterrupt: If the user stopped it (Ctrl-C or SIGTERM); the runs in progress have
            written a checkpoint.
    """
    for job in jobs:
        if job.finished:
            report(job, "done before")
    pending = [job for job in jobs if not job.finished]
    if not pending:
        return []
    threads = threads or max(1, (os.cpu_count() or 1) // workers)
    pool = _Pool(threads, trust_code, report, _placement(gpus, workers))
    pool.code = digests({name for job in pending for name in plugged_sources(job.config)})
    return _side_by_side(pool, pool.run, pending, workers)


def check_jobs(
    jobs: Sequence[Job], *, workers: int, threads: int | None = None, trust_code: bool = False
) -> list[JobFailure]:
    """Take one training step of each job, and score a few images, without writing anything.

    Args:
        jobs: The runs.
        workers: Number of runs side by side.
        threads: CPU threads of each run; None divides the cores among the workers.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.

    Returns:
        The jobs that cannot be trained.

    Raises:
        KeyboardInterrupt: If the user stopped it.
    """
    if not jobs:
        return []
    threads = threads or max(1, (os.cpu_count() or 1) // workers)
    pool = _Pool(threads, trust_code, lambda job, status: None, _placement(None, workers))
    return _side_by_side(pool, pool.check, jobs, workers)


def _placement(gpus: Sequence[str] | None, workers: int) -> Placement:
    return Placement(visible_gpus() if gpus is None else gpus, workers)


def _side_by_side(
    pool: _Pool, work: Callable[[Job], JobFailure | None], jobs: Sequence[Job], workers: int
) -> list[JobFailure]:
    with _sigterm_as_interrupt(), ThreadPoolExecutor(workers) as executor:
        futures: list[Future[JobFailure | None]] = []
        try:
            # An interrupt can come while jobs are still submitted: the first ones run already.
            futures += [executor.submit(work, job) for job in jobs]
            wait(futures)
        except KeyboardInterrupt:
            pool.interrupt()
            try:
                executor.shutdown()
            except KeyboardInterrupt:
                pool.kill()
            raise
    failures = [future.result() for future in futures]
    return [failure for failure in failures if failure is not None]


class _Pool:
    """Processes of the runs in progress."""

    def __init__(
        self, threads: int, trust_code: bool, report: Report, placement: Placement
    ) -> None:
        self._threads, self._trust_code, self._report = threads, trust_code, report
        self._placement = placement
        self.code: Mapping[str, str | None] = {}
        self._context = _context(threads)
        self._stop = self._context.Event()
        self._lock = threading.Lock()
        self._running: set[BaseProcess] = set()

    def run(self, job: Job) -> JobFailure | None:
        if self._stop.is_set():
            return None
        with self._placement.gpu(job.config.train.device) as gpu:
            begun = "resumed" if job.resumable else "started"
            self._report(job, begun if gpu is None else f"{begun} on GPU {gpu}")
            try:
                job.path.parent.mkdir(parents=True, exist_ok=True)
                outcome = self._outcome(job, job.log, gpu)
            except OSError as error:
                outcome = Outcome("failed", str(error))
        if outcome is None:
            if self._stop.is_set():
                return None
            outcome = Outcome("failed", f"its process ended: {_last_line(job.log)}")
        if outcome.status != "failed":
            self._report(job, outcome.status)
            return None
        self._report(job, f"failed: {outcome.message}")
        return JobFailure(job, outcome.message, outcome.final)

    def check(self, job: Job) -> JobFailure | None:
        if self._stop.is_set():
            return None
        with (
            tempfile.TemporaryDirectory() as folder,
            self._placement.gpu(job.config.train.device) as gpu,
        ):
            log = Path(folder) / "log"
            outcome = self._outcome(job, log, gpu, check=True)
            if outcome is None and not self._stop.is_set():
                outcome = Outcome("failed", f"its process ended: {_last_line(log)}")
        if outcome is None or outcome.status != "failed":
            return None
        return JobFailure(job, outcome.message, outcome.final)

    def _outcome(
        self, job: Job, log: Path, gpu: str | None, *, check: bool = False
    ) -> Outcome | None:
        """Run or check a job in a process; None if it died."""
        log.unlink(missing_ok=True)
        names = plugged_sources(job.config) & self.code.keys()
        order = Order(
            job.path,
            job.config,
            log,
            resume=job.resumable,
            check=check,
            gpu=gpu,
            threads=self._threads,
            trust_code=self._trust_code,
            start_method=multiprocessing.get_start_method(),
            code={name: self.code[name] for name in sorted(names)},
        )
        results, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(order, self._stop, sender))
        process.start()
        sender.close()
        with self._lock:
            self._running.add(process)
            if self._stop.is_set():
                _signal(process)
        line = ""
        # The process may leave children behind that keep the pipe open.
        while not connection.wait([results, process.sentinel], PROGRESS_SECONDS):
            if not check and (now := _progress(log)) not in ("", line):
                line = now
                self._report(job, line)
        try:
            outcome: Outcome | None = results.recv() if results.poll() else None
        except EOFError:
            outcome = None
        process.join()
        with self._lock:
            self._running.discard(process)
        return outcome

    def interrupt(self) -> None:
        """Stop each run after a checkpoint, and start no others."""
        with self._lock:
            self._stop.set()
            for process in self._running:
                _signal(process)

    def kill(self) -> None:
        with self._lock:
            for process in self._running:
                process.kill()


def _context(threads: int) -> ForkServerContext | SpawnContext:
    if sys.platform != "linux":
        # System libraries of macOS do not survive a fork.
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ibc_pyg.jobs.worker"])
    with _environment(SERVER_ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}):
        forkserver.ensure_running()
    return context


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that is started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _signal(process: BaseProcess) -> None:
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGINT)


def _progress(log: Path) -> str:
    """Return the last line of a training that tells how far it is; empty before the first."""
    lines = re.findall(r"^train +[\d,]+/.*$", _text(log), flags=re.MULTILINE)
    return " ".join(lines[-1].split()) if lines else ""


def _last_line(log: Path) -> str:
    lines = _text(log).strip().splitlines()
    return lines[-1] if lines else "killed"


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, in the main thread."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)

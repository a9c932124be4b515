"""One run in a process of its own, forked from a server that has imported the package."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from rich.console import Console

from ibc_pyg.config import Config
from ibc_pyg.config.plugged import plugged_code
from ibc_pyg.console import info
from ibc_pyg.errors import ConfigError, InUseError, RunError, UserError, printable
from ibc_pyg.jobs.devices import VISIBLE
from ibc_pyg.plain_text import log_lines
from ibc_pyg.plugins import blamed
from ibc_pyg.runs.source_record import first_changed
from ibc_pyg.training.dry_run import dry_run
from ibc_pyg.training.run import resume, train


@dataclass(frozen=True)
class Order:
    """A run to train.

    Attributes:
        path: Run folder.
        config: Experiment; of a run that is resumed, the folder's own is taken.
        log: File that receives everything the process prints.
        resume: Whether the folder has a checkpoint to resume from.
        threads: CPU threads, where the experiment does not set them.
        trust_code: As in `ibc_pyg.builders.loss.build_loss`.
        start_method: How the processes of data loaders start, as outside a pool.
        code: Hashes of its plugged code when the first run of all began; see `digests`.
        check: Take one step and write nothing, instead.
        gpu: The only GPU that the run sees, as in CUDA_VISIBLE_DEVICES; None leaves that unchanged.
    """

    path: Path
    config: Config
    log: Path
    resume: bool
    threads: int
    trust_code: bool
    start_method: str
    code: Mapping[str, str | None] = field(default_factory=dict)
    check: bool = False
    gpu: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes:
        status: finished, stopped or failed.
        message: One line, if it failed.
        final: Whether another attempt would fail in the same way, as after a divergence.
    """

    status: str
    message: str = ""
    final: bool = False


def work(order: Order, stop: Event, results: connection.Connection) -> None:
    """Train one run and send its `Outcome`; the main function of a process.

    Args:
        order: The run.
        stop: Set before the process receives SIGINT, which it could miss while it starts.
        results: Where the outcome is sent.
    """
    if order.gpu is not None:
        os.environ[VISIBLE] = order.gpu  # before the first call of CUDA in this process
    os.setsid()  # Ctrl-C reaches the parent alone, which passes it on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Otherwise each process of a data loader would start a server, and import everything again.
    multiprocessing.set_start_method(order.start_method, force=True)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    with order.log.open("w", encoding="utf-8", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        log_lines(logging.WARNING)
        torch.set_num_threads(order.threads)
        console = Console(file=log, highlight=False, soft_wrap=True, markup=False)
        outcome = _run(order, stop, console)
        with suppress(BrokenPipeError):  # The parent was killed.
            results.send(outcome)


def _run(order: Order, stop: Event, console: Console) -> Outcome:
    try:
        if stop.is_set():
            return Outcome("stopped")
        if (changed := first_changed(order.code)) is not None:
            raise ConfigError(
                f"{printable(changed)} was edited while runs that use it were trained; restore it, "
                "or start anew with another --out"
            )
        if order.check:
            dry_run(order.config, console, trust_code=order.trust_code, sample=False)
        elif order.resume:
            known = plugged_code(order.config)
            resume(order.path, console, trust_code=order.trust_code, known_code=known)
        else:
            train(order.config, order.path, console, trust_code=order.trust_code)
    except KeyboardInterrupt:
        return Outcome("stopped")
    except UserError as error:
        message = " ".join(str(error).split())
        final = isinstance(error, RunError) and not isinstance(error, InUseError)
        info(console, f"error: {message}")
        return Outcome("failed", message, final=final)
    except Exception as error:
        for line in traceback.format_exc().splitlines():
            info(console, line)
        place = blamed(error)
        start = "" if place is None else f"{place}: "
        return Outcome("failed", " ".join(f"{start}{type(error).__name__}: {error}".split()))
    return Outcome("finished")


def _stop_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)

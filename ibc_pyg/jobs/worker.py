"""A process that trains one run after another: importing torch and PyG takes longer than many runs.

`python -m ibc_pyg.jobs.worker` reads one JSON object a line, `{config, out, log, resume, argv,
trust_code}`, and answers each with `{status, message, final}`; see `ibc_pyg.jobs.pool`, which
starts it. Each run starts as in a fresh process: its weights are those of `python run.py train`,
bit by bit. What it prints goes to its log. When the other side is gone, the run is stopped behind a
checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
from rich.console import Console

from ibc_pyg.config import Config
from ibc_pyg.config.yaml_file import config_from_yaml
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.nn.conv.user_conv import user_code
from ibc_pyg.training.fit import TrainingInterrupted
from ibc_pyg.training.run import resume, train

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


def serve() -> None:
    """Answer every line of standard input."""
    running, asked = threading.Event(), threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Between two runs there is nothing to stop, but no other is begun.
        asked.set()
        if running.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    # A process that a loader forks closes sys.stdin, and must not wait for who is reading it.
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    os.dup2(sys.stdin.fileno(), 0)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", force=True)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, tasks), daemon=True).start()
    while (line := tasks.get()) is not None:
        answer = _answer(json.loads(line), running, asked)
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


def _read(requests: IO[str], tasks: queue.SimpleQueue[str | None]) -> None:
    for line in requests:
        tasks.put(line)
    tasks.put(None)
    # Nobody waits for what is running.
    os.kill(os.getpid(), signal.SIGINT)


def _answer(
    task: dict[str, Any], running: threading.Event, asked: threading.Event
) -> dict[str, Any]:
    # The run's environment.json names the command that a person gave.
    sys.argv = task["argv"]
    with Path(task["log"]).open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        state = _process_state()
        try:
            return _run(task, running, asked)
        finally:
            _restore_process_state(state)
            sys.stdout.flush()
            sys.stderr.flush()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            os.close(nothing)


def _run(task: dict[str, Any], running: threading.Event, asked: threading.Event) -> dict[str, Any]:
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as out:
        console = Console(file=out, highlight=False, soft_wrap=True, markup=False)
        path = Path(task["out"])
        try:
            running.set()
            if asked.is_set():
                return _outcome(STOPPED)
            config, trust = _config(task["config"]), task["trust_code"]
            if task["resume"]:
                known = user_code(config.model)
                resume(path, console, trust_code=trust, known_code=known)
            else:
                train(config, path, console, trust_code=trust)
        except (TrainingInterrupted, KeyboardInterrupt):
            return _outcome(STOPPED)
        except UserError as error:
            message = " ".join(str(error).split())
            out.write(f"error: {message}\n")
            return _outcome(FAILED, message, final=isinstance(error, RunError))
        except Exception as error:
            out.write(traceback.format_exc())
            return _outcome(FAILED, " ".join(f"{type(error).__name__}: {error}".split()))
        finally:
            running.clear()
        return _outcome(FINISHED)


def _outcome(status: str, message: str = "", *, final: bool = False) -> dict[str, Any]:
    return {"status": status, "message": message, "final": final}


def _config(text: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(text, encoding="utf-8")
        return config_from_yaml(file)


def _process_state() -> tuple[int, bool, bool, str]:
    """Return what a run may set for the whole process."""
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
    )


def _restore_process_state(state: tuple[int, bool, bool, str]) -> None:
    threads, deterministic, warn_only, precision = state
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.set_float32_matmul_precision(precision)


if __name__ == "__main__":
    serve()

"""Trainings in separate processes that are killed at chosen or random moments.

A fork server imports the package once, so each process starts in milliseconds.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.digits_run import TIMED

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ibc_pyg.training.run", "ibc_pyg.commands.options.common"])

SMALL = {
    "--data.name": "digits", "--data.classes_per_batch": "3", "--data.images_per_class": "8",
    "--data.transform_args": "{image_size: 8}", "--data.val_classes": "0.4",
    "--model.backbone_args": "{width: 4}", "--model.embedding_dim": "16", "--model.heads": "2",
    "--train.lr": "0.01", "--train.lr_milestones": "[2]", "--train.threads": "1",
    "--evaluate.clustering": "false",
}  # fmt: skip
RELOADS = SMALL | {
    "--train.epochs": "4", "--train.reload_best_at": "[2]", "--train.checkpoint_every": "2",
}  # fmt: skip
"""Training continues from best weights of an epoch without a checkpoint."""
RETRAINS = SMALL | {"--train.epochs": "2", "--retrain": "true", "--train.ema_decay": "0.9"}
"""Two passes, with averaged weights."""


@dataclass(frozen=True)
class Kill:
    """Moment at which a process kills itself with SIGKILL.

    Attributes:
        kind: Name of the moment, for the count of kills.
        target: `module:name` or `module:Class.name` of the function that is called.
        call: Number of the call, from 1.
        when: before, after, or torn: after half of a record is written.
    """

    kind: str
    target: str
    call: int
    when: str = "before"

    def arm(self) -> None:
        """Replace the function by one that kills."""
        module, _, path = self.target.partition(":")
        __import__(module)
        owner = sys.modules[module]
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), 0

        def killing(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == self.call and self.when == "torn":
                file = arguments[0]._file
                file.write(b'{"step": 7, "time": 17')
                file.flush()
            if calls == self.call and self.when != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **options)
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, killing)


def start(arguments, *, kill=None, prepare=None, log=os.devnull):
    """Start the command line in a process; `prepare` is called in it first."""
    process = CONTEXT.Process(target=_work, args=(list(arguments), kill, prepare, str(log)))
    process.start()
    return process


def _work(arguments, kill, prepare, log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ["OMP_NUM_THREADS"] = "1"
    if kill is not None:
        kill.arm()
    if prepare is not None:
        prepare()
    from ibc_pyg.cli import run

    sys.exit(run(arguments))


def finish(process):
    """Wait for a process; return its exit code, -9 if it was killed."""
    process.join(300)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def new(options, out, experiment):
    """Return the arguments of a new run; the experiment is an empty file."""
    experiment.write_text("select: val\n")
    return ["train", str(experiment), "--out", str(out), *(w for o in options.items() for w in o)]


def resuming(out):
    """Return the arguments that resume a run, or None if there is no run."""
    return ["train", "--resume", str(out)] if (out / "config.yaml").is_file() else None


def train_whole(options, folder):
    """Train without a kill; return the run folder and the seconds it took."""
    # The fork server imports the package before it serves the first process.
    assert finish(start(["train"])) == 2
    began = time.monotonic()
    folder.mkdir()
    log = folder / "log"
    code = finish(start(new(options, folder / "run", folder / "e.yaml"), log=log))
    assert code == 0, log.read_text()
    return folder / "run", time.monotonic() - began


def train_with_kills(options, folder, kills):
    """Train, dying as each of `kills` says, then resume to the end.

    Args:
        kills: Each a `Kill`, or a function that takes the running process and its folder.

    Returns:
        The run folder, and for each kill whether it came before the end of the training. After a
        kill that came too late, the others are left out.
    """
    folder.mkdir()
    out, hits = folder / "run", []
    for kill in [*kills, None]:
        if hits and not hits[-1]:
            return out, hits
        arguments = resuming(out) or new(options, out, folder / "e.yaml")
        log = folder / f"log-{len(hits)}"
        inside = kill if isinstance(kill, Kill) else None
        process = start(arguments, kill=inside, log=log)
        if kill is not None and inside is None:
            kill(process, out)
        code = finish(process)
        assert code in ((0,) if kill is None else (0, -signal.SIGKILL)), log.read_text()
        hits.append(code == -signal.SIGKILL)
    return out, hits[:-1]


class AtRandom:
    """Kills from outside, at a random moment of the usual duration."""

    kind = "at a random moment"

    def __init__(self, seconds, seed):
        self.delay = random.Random(seed).uniform(0, seconds)

    def __call__(self, process, out):
        time.sleep(self.delay)
        process.kill()


class WhilePartial:
    """Kills from outside as soon as a partial checkpoint exists."""

    kind = "checkpoint seen half-written"

    def __call__(self, process, out):
        while process.exitcode is None:
            if list(out.glob("checkpoints/.step-*.partial")):
                process.kill()
                return


class WhileRecording:
    """Kills from outside after some records of the history."""

    kind = "history seen growing"

    def __init__(self, records):
        self.records = records

    def __call__(self, process, out):
        file, before = out / "metrics.jsonl", None
        while process.exitcode is None:
            count = file.read_bytes().count(b"\n") if file.is_file() else 0
            before = count if before is None else min(before, count)
            if count >= before + self.records:
                process.kill()
                return


def outcome(run: Path):
    """Return everything that must not depend on kills: weights, history, summary, without times."""
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    del summary["train_seconds"]
    return {
        "weights": (run / "model.safetensors").read_bytes(),
        "history": [{k: v for k, v in r.items() if k not in TIMED} for r in history],
        "summary": summary,
        "left": sorted(file.name for file in run.rglob(".*")),
    }

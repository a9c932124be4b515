"""What the processes of one run tell each other: errors, a wish to stop, what the first one did.

The first process alone writes files, prints and scores. What fails on one process fails on all,
with the same line, at a point where all of them meet: nobody is left waiting. With one process
everything here does its work and nothing else.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from ibc_pyg import errors
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.parallel.collectives import process_rank, world_size

T = TypeVar("T")

# The first process may score millions of images while the others wait.
_PATIENCE = timedelta(days=2)
_ALONE: ContextVar[bool] = ContextVar("_ALONE", default=False)
_STOPPED = "stopped"


def is_distributed() -> bool:
    """Tell whether several processes are at the same work now."""
    return world_size() > 1 and not _ALONE.get()


def on_main_only() -> bool:
    """Tell whether the first process works by itself now, within `broadcast_from_main`."""
    return _ALONE.get()


def is_main_process() -> bool:
    """Tell whether this is the process that writes files and speaks."""
    return process_rank() == 0


def broadcast_from_main(work: Callable[[], T]) -> T:
    """Let the first process alone do `work`, and give its result to all.

    Args:
        work: Returns what JSON can hold. Within it `is_distributed` is false.

    Raises:
        UserError: What `work` raised, in every process.
    """
    if not is_distributed():
        return work()
    message: dict[str, Any] = {}
    own: BaseException | None = None
    if is_main_process():
        token = _ALONE.set(True)
        try:
            message = {"value": work()}
        except (UserError, KeyboardInterrupt) as error:
            message, own = _described(error), error
        finally:
            _ALONE.reset(token)
    message = json.loads(_exchange(json.dumps(message))[0])
    _raise(message, own)
    value: T = message["value"]
    return value


def run_on_main(work: Callable[[], object]) -> None:
    """Let the first process alone do `work`; none goes on before it is done.

    Raises:
        UserError: What `work` raised, in every process.
    """

    def effect() -> None:
        work()

    broadcast_from_main(effect)


def main_process_first(work: Callable[[], T]) -> T:
    """Let the first process do `work`, and then the others, for whom it may have left something.

    Raises:
        UserError: What one of them raised, in every process.
    """
    if not is_distributed():
        return work()
    done: list[T] = []
    with raise_together():
        run_on_main(lambda: done.append(work()))
        if not done:
            done.append(work())
    return done[0]


def all_gather_json(value: T) -> list[T]:
    """Return what each process gives, in rank order; JSON must be able to hold it."""
    if not is_distributed():
        return [value]
    return [json.loads(text) for text in _exchange(json.dumps(value))]


@contextmanager
def raise_together() -> Iterator[None]:
    """Raise what one process raises in the block in all of them, behind it.

    Raises:
        UserError: That of the first process that had one.
    """
    if not is_distributed():
        yield
        return
    own: BaseException | None = None
    try:
        yield
    except (UserError, KeyboardInterrupt) as error:
        own = error
    if not any_across_processes(own is not None):
        return
    for message in all_gather_json({} if own is None else _described(own)):
        _raise(message, own)


def synchronised(batches: Iterable[T]) -> Iterator[T]:
    """Yield the batches; one that cannot be read in one process ends the work of all."""
    if not is_distributed():
        yield from batches
        return
    waiting = iter(batches)
    while True:
        with raise_together():
            batch = next(waiting, None)
        if batch is None:
            return
        yield batch


def any_across_processes(flag: bool) -> bool:
    """Tell whether `flag` is set in one of the processes."""
    if not is_distributed():
        return flag
    flags = torch.tensor([int(flag)])
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=control_group())
    return bool(flags)


def all_gather_tensors(rows: Tensor) -> Tensor:
    """Join rows whose number differs between processes, on the CPU, in rank order.

    Args:
        rows: `[M, ...]`, on the CPU; M may be 0, and then the other sizes do not matter.
    """
    if not is_distributed():
        return rows
    shapes = all_gather_json(list(rows.shape))
    sizes = [shape[0] for shape in shapes]
    rest = next((shape[1:] for shape in shapes if shape[0]), shapes[0][1:])
    # What is sent must be of one size; what was added is cut off again.
    sent = rows.new_zeros(max(sizes), *rest)
    sent[: len(rows)] = rows.reshape(len(rows), *rest)
    parts = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(parts, sent, group=control_group())
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


@functools.lru_cache(maxsize=1)
def control_group() -> dist.ProcessGroup:
    """Return the group of all processes for what is not on an accelerator, made at first use.

    All processes must come here for the first time at the same point.
    """
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    return group


def _exchange(text: str) -> list[str]:
    """Return the text of each process, in rank order. Nothing is pickled."""
    sent = torch.frombuffer(bytearray(text.encode()) or bytearray(1), dtype=torch.uint8)
    group, world = control_group(), world_size()
    sizes = [torch.empty(1, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(sent)]), group=group)
    most = int(torch.cat(sizes).max())
    padded = torch.zeros(most, dtype=torch.uint8)
    padded[: len(sent)] = sent
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded, group=group)
    return [
        bytes(part[: int(size)].tolist()).decode() for part, size in zip(parts, sizes, strict=True)
    ]


def _described(error: BaseException) -> dict[str, str]:
    name = type(error).__name__ if isinstance(error, UserError) else _STOPPED
    return {"error": name, "text": str(error)}


def _raise(message: dict[str, Any], own: BaseException | None) -> None:
    if "error" not in message:
        return
    if own is not None:
        raise own
    if message["error"] == _STOPPED:
        raise KeyboardInterrupt
    cls = getattr(errors, message["error"], RunError)
    raise cls(message["text"])

"""Coordination of the processes of a distributed run.

Only the main process writes files, prints and scores. An error in one process is raised in all,
with the same message, at a common synchronisation point, so that no process waits for ever. With
one process, all functions only call the given work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from ibc_pyg import errors
from ibc_pyg.errors import RunError, UserError
from ibc_pyg.parallel.collectives import control_group, process_rank, world_size

T = TypeVar("T")

_ALONE: ContextVar[bool] = ContextVar("_ALONE", default=False)
_STOPPED = "stopped"


def close_process_group() -> None:
    """Close the group of processes, whose threads could abort a process that ends before them."""
    if is_distributed():
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Tell whether several processes run this code; false within `broadcast_from_main`."""
    return world_size() > 1 and not _ALONE.get()


def on_main_only() -> bool:
    """Tell whether this process runs code alone: `broadcast_from_main` or `on_its_own`."""
    return _ALONE.get()


@contextmanager
def on_its_own() -> Iterator[None]:
    """Run a block in each process as if it were the only one, without a group of processes."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def is_main_process() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return process_rank() == 0


def broadcast_from_main(work: Callable[[], T]) -> T:
    """Run `work` on the main process and return its result on all processes.

    Args:
        work: Returns a JSON value. Within it, `is_distributed` is false.

    Raises:
        UserError: The error of `work`, in every process.
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
    """Run `work` on the main process; the others wait until it is done.

    Raises:
        UserError: The error of `work`, in every process.
    """

    def effect() -> None:
        work()

    broadcast_from_main(effect)


def main_process_first(work: Callable[[], T]) -> T:
    """Run `work` on the main process, then on the others, as when the main one fills a cache.

    Raises:
        UserError: The error of any process, in every process.
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
    """Return the JSON values of all processes, in rank order."""
    if not is_distributed():
        return [value]
    return [json.loads(text) for text in _exchange(json.dumps(value))]


@contextmanager
def raise_together() -> Iterator[None]:
    """Raise an error of any process within the block in all processes, at the end of the block.

    Raises:
        UserError: The error of the lowest rank that raised one.
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
    """Yield the batches; an error in reading one is raised in all processes."""
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
    """Tell whether `flag` is set in any process."""
    if not is_distributed():
        return flag
    flags = torch.tensor([int(flag)])
    dist.all_reduce(flags, dist.ReduceOp.MAX, group=control_group())
    return bool(flags)


def all_gather_tensors(rows: Tensor) -> Tensor:
    """Concatenate CPU rows, whose number may differ between processes, in rank order.

    Args:
        rows: `[M, ...]`, on the CPU; the other sizes are ignored where M is 0.
    """
    if not is_distributed():
        return rows
    shapes = all_gather_json(list(rows.shape))
    sizes = [shape[0] for shape in shapes]
    rest = next((shape[1:] for shape in shapes if shape[0]), shapes[0][1:])
    # all_gather needs equal sizes: rows are padded, and the padding is removed.
    sent = rows.new_zeros(max(sizes), *rest)
    sent[: len(rows)] = rows.reshape(len(rows), *rest)
    parts = [torch.empty_like(sent) for _ in sizes]
    dist.all_gather(parts, sent, group=control_group())
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _exchange(text: str) -> list[str]:
    """Return the texts of all processes, in rank order, without pickling."""
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

"""Distributed processes for tests."""

import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import torch
from torch import distributed as dist

PRELOAD = ["torch", "torch.distributed", "ibc_pyg.training.run", "tests.helpers.processes"]

PATIENCE = 300
"""Seconds after which a deadlock is assumed."""


def run_processes(work, world, *args, environment=None):
    """Call `work(rank, world, *args)` in `world` processes; return the results in rank order.

    Processes are forked from a server, so only the first call waits for imports.

    Args:
        work: A function at module level.
        world: Number of processes.
        args: Its further arguments.
        environment: Environment of torchrun, see `torchrun_environment`; without it, a gloo process
            group is initialised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        pipes, members = [], []
        for rank in range(world):
            here, there = context.Pipe(duplex=False)
            store = str(Path(folder) / "store")
            given = (there, store, environment, work, rank, world, args)
            member = context.Process(target=_member, args=given)
            member.start()
            there.close()
            pipes.append(here)
            members.append(member)
        try:
            # A process that dies closes its end, which ends the wait.
            return [_received(pipe) for pipe in pipes]
        finally:
            for member in members:
                member.join(10)
                if member.is_alive():
                    member.kill()


def _received(pipe):
    if not pipe.poll(PATIENCE):
        raise TimeoutError("a process does not answer: deadlock")
    return pipe.recv()


def torchrun_environment(world):
    """Environment that torchrun gives its processes, without their ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
    }  # fmt: skip


def _member(pipe, store, environment, work, rank, world, args):
    torch.set_num_threads(1)
    if environment is None:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    else:
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    try:
        pipe.send(work(rank, world, *args))
    finally:
        pipe.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def to_lists(tensors):
    return {name: value.tolist() for name, value in tensors.items()}


def assert_close(found, wanted, what, tolerance=1e-5):
    """Relative to the largest value of the tensor: sums run in another order, in 24 bits.

    A gradient that is zero in theory, as of a bias before a normalisation, is a rounding error.
    """
    found, wanted = torch.tensor(found, dtype=torch.float64), wanted.double()
    scale = max(float(wanted.abs().max()), 0.1)
    assert float((found - wanted).abs().max()) <= tolerance * scale, what

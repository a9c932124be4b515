"""Several processes that work together, for tests."""

import multiprocessing
import os
import tempfile
from pathlib import Path

import torch
from torch import distributed as dist

PRELOAD = ["torch", "torch.distributed", "ibc_pyg.nn.model", "ibc_pyg.nn.factory", "processes"]


def run_processes(work, world, *args):
    """Call `work(rank, world, *args)` in `world` processes joined by gloo; return the results.

    A server that has imported everything is forked, so only the first call pays for imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        pipes, members = [], []
        for rank in range(world):
            here, there = context.Pipe(duplex=False)
            store = str(Path(folder) / "store")
            member = context.Process(target=_member, args=(there, store, work, rank, world, args))
            member.start()
            there.close()
            pipes.append(here)
            members.append(member)
        try:
            # A process that dies closes its end, which ends the wait.
            return [pipe.recv() for pipe in pipes]
        finally:
            for member in members:
                member.join(10)
                if member.is_alive():
                    member.kill()


def _member(pipe, store, work, rank, world, args):
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    try:
        pipe.send(work(rank, world, *args))
    finally:
        pipe.close()
        dist.destroy_process_group()

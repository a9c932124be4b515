"""States of torch's random generators, of one process and of all processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from ibc_pyg.parallel.collectives import control_group, process_rank, world_size
from ibc_pyg.parallel.processes import all_gather_tensors, is_distributed, is_main_process

_logger = logging.getLogger(__name__)


def random_state() -> dict[str, Tensor]:
    """Return the states of torch's global generators, which dropout uses."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Restore the states that `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_dropout(seed: int) -> None:
    """Seed each process other than the main one differently, after weights are initialised."""
    if is_distributed() and (rank := process_rank()):
        torch.manual_seed(int(np.random.SeedSequence([seed, rank]).generate_state(1)[0]))


@contextmanager
def main_process_draws(device: torch.device) -> Iterator[None]:
    """Make all processes draw the same random numbers in the block: those of the main process.

    Args:
        device: Its generator is synchronised together with the CPU's.
    """
    if world_size() == 1:
        yield
        return
    names = ("cpu", "cuda") if device.type == "cuda" else ("cpu",)
    own = {name: state for name, state in random_state().items() if name in names}
    # States lie on the CPU: sent from there, no process waits for its GPU.
    sent = torch.cat(list(own.values()))
    dist.broadcast(sent, 0, group=control_group())
    parts = torch.split(sent, [len(state) for state in own.values()])
    # clone: torch reads a state from the start of the storage.
    set_random_state({name: part.clone() for name, part in zip(own, parts, strict=True)})
    try:
        yield
    finally:
        if process_rank() != 0:
            set_random_state(own)


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's generators: uint8 `[S]`, or `[W, S]` of W processes."""
    own = random_state()
    if not is_distributed():
        return own
    return {name: all_gather_tensors(state.unsqueeze(0)) for name, state in own.items()}  # [W, S]


def set_random_states(states: Mapping[str, Tensor], seed: int) -> None:
    """Restore each process's generators to the states that `random_states` returned.

    If there are more processes now, the additional ones are seeded.

    Args:
        states: From `random_states`.
        seed: Seed of the run, for additional processes.
    """
    rows = {name: state.view(-1, state.size(-1)) for name, state in states.items()}  # [W, S]
    then, now, rank = len(rows["cpu"]), world_size(), process_rank()
    if then != now and is_main_process():
        _logger.warning(
            "the run was interrupted with %d processes and resumes with %d: the batches are the "
            "same, but dropout draws other numbers and sums are rounded in another order, so the "
            "weights will differ in the last bits",
            then,
            now,
        )
    if rank < then:
        # clone: torch reads a state from the start of the storage, not of the row.
        set_random_state({name: state[rank].clone() for name, state in rows.items()})
    else:
        seed_dropout(seed)

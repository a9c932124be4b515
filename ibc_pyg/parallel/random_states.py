"""The random states of all processes, in one checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor

from ibc_pyg.parallel.collectives import num_processes, process_number
from ibc_pyg.parallel.fabric import seed_dropout
from ibc_pyg.parallel.processes import gather_on_all, is_first, together
from ibc_pyg.runs.checkpoint import random_state, set_random_state

_LOG = logging.getLogger(__name__)


def random_states() -> dict[str, Tensor]:
    """Return the states of torch's generators: bytes `[S]`, of W processes `[W, S]`."""
    own = random_state()
    if not together():
        return own
    return {name: gather_on_all(state.unsqueeze(0)) for name, state in own.items()}  # [W, S]


def set_random_states(states: Mapping[str, Tensor], seed: int) -> None:
    """Put each process's generators back to where `random_states` saw them.

    With another number of processes than then, those that are new begin with draws of their own.

    Args:
        states: What `random_states` gave.
        seed: Of the run, for new processes.
    """
    rows = {name: state.view(-1, state.size(-1)) for name, state in states.items()}  # [W, S]
    then, now, rank = len(rows["cpu"]), num_processes(), process_number()
    if then != now and is_first():
        _LOG.warning(
            "the run was cut with %d processes and goes on with %d: the batches are the same, but "
            "dropout draws other numbers and sums are rounded in another order, so the weights "
            "will not be the same to the last bit",
            then,
            now,
        )
    if rank < then:
        # clone: torch reads a state from where the storage begins, not the row.
        set_random_state({name: state[rank].clone() for name, state in rows.items()})
    else:
        seed_dropout(seed)

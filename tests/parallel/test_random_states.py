import torch

from ibc_pyg.parallel.random_states import random_state, set_random_state


def test_random_state_repeats_the_draws():
    state = random_state()
    first = torch.rand(5)
    set_random_state(state)
    assert torch.equal(first, torch.rand(5))

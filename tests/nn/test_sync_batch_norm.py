"""Synchronised batch normalisation against torch in one process."""

import itertools

import pytest
import torch
from torch import nn

from ibc_pyg.data.sampling import shard_batch
from ibc_pyg.nn.sync_batch_norm import SyncBatchNorm, synchronise_batch_norm
from tests.helpers.processes import assert_close, run_processes, to_lists


def normalise(rank, world, shape, momentum, affine):
    """Return output, gradients and statistics of this process for two batches."""
    norm = SyncBatchNorm(shape[1], momentum=momentum, affine=affine)
    draws = torch.Generator().manual_seed(3)
    if affine:
        nn.init.normal_(norm.weight, generator=draws)
    share = shard_batch(shape[0], rank, world)
    for _ in range(2):
        # With a mean far from zero, a variance as a difference of sums would be lost.
        x = (100 + torch.randn(shape, generator=draws))[share].requires_grad_()
        weight = torch.randn(shape, generator=draws)[share]
        out = norm(x)
        (out * weight).sum().backward()
    return out.tolist(), x.grad.tolist(), to_lists(norm.state_dict())


NORM_SHAPES = [((8, 3), 0.1, True), ((4, 3, 5), None, True), ((4, 2, 3, 3), 0.3, False)]


def normalise_all(rank, world):
    return [normalise(rank, world, *arguments) for arguments in NORM_SHAPES]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_batch_norm_over_processes_is_that_of_torch_in_one(world):
    results = run_processes(normalise_all, world)
    for number, (shape, momentum, affine) in enumerate(NORM_SHAPES):
        cls = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
        norm = cls(shape[1], momentum=momentum, affine=affine)
        draws = torch.Generator().manual_seed(3)
        if affine:
            nn.init.normal_(norm.weight, generator=draws)
        for _ in range(2):
            x = (100 + torch.randn(shape, generator=draws)).requires_grad_()
            weight = torch.randn(shape, generator=draws)
            out = norm(x)
            (out * weight).sum().backward()
        found = [result[number] for result in results]
        joined = [list(itertools.chain(*(part[i] for part in found))) for i in (0, 1)]
        # Values of about 100 have rounding errors of 1e-5.
        assert_close(joined[0], out.detach(), "output", 5e-5)
        assert_close(joined[1], x.grad, "gradient", 5e-5)
        for part in found:
            assert part[2] == found[0][2]
            for key, value in norm.state_dict().items():
                assert_close(part[2][key], value, key)


def test_one_process_normalises_as_torch():
    norm, reference = SyncBatchNorm(4), nn.BatchNorm2d(4)
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm(x), reference(x))
    assert torch.equal(norm.eval()(x), reference.eval()(x))
    assert torch.equal(norm.running_var, reference.running_var)


def test_a_conversion_keeps_names_values_and_parameters():
    backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2)))
    state, parameters = backbone.state_dict(), list(backbone.parameters())
    twin = synchronise_batch_norm(backbone)
    assert isinstance(twin[1][0], SyncBatchNorm)
    assert twin.state_dict().keys() == state.keys()
    assert all(one is other for one, other in zip(twin.parameters(), parameters, strict=True))
    assert isinstance(synchronise_batch_norm(nn.BatchNorm1d(3)), SyncBatchNorm)

"""Products of all pairs of rows, against float64."""

import pytest
import torch

from ibc_pyg.graph.products import pair_products


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 500, 7), (64, 64, 1), (70, 65, 514), (256, 999, 33)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_as_exact_as_float32_can_be(shape, seed):
    n, m, dim = shape
    draws = torch.Generator().manual_seed(seed)
    left = torch.randn(n, dim, generator=draws)
    right = torch.randn(m, dim, generator=draws)
    right[-1] = right[0]
    out = pair_products(left, right, out=torch.empty(n, m))
    want = left.double() @ right.double().T
    # A sum of D rounded terms in any order: at most D units in the last place of sum |a b|.
    bound = 2.0**-24 * (dim + 1) * (left.abs().double() @ right.abs().double().T)
    assert ((out.double() - want).abs() <= bound).all()
    assert torch.equal(out[:, 0], out[:, -1])
    assert not out.requires_grad


@pytest.mark.parametrize("seed", range(40))
def test_copies_have_equal_products(seed):
    """Duplicates tie exactly, at any position in the matrix."""
    draws = torch.Generator().manual_seed(seed)
    n, m, dim = (int(torch.randint(1, 130, (1,), generator=draws)) for _ in range(3))
    which = torch.randint(2, (n,), generator=draws), torch.randint(2, (m,), generator=draws)
    left, right = (torch.randn(2, dim, generator=draws)[each] for each in which)
    out = pair_products(left, right)
    for i in range(2):
        for j in range(2):
            assert len(out[which[0] == i][:, which[1] == j].unique()) <= 1


def test_autocast_has_no_effect():
    draws = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 100, 300, generator=draws)
    with torch.autocast("cpu"):
        out = pair_products(left, right)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), left.double() @ right.double().T, rtol=0, atol=1e-3)


def test_slices_and_expanded_rows():
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(300, 40, generator=draws)
    left, right = rows[::2, 3:30], rows[:1, 3:30].expand(100, 27)
    want = left.double() @ right.double().T
    torch.testing.assert_close(pair_products(left, right).double(), want, rtol=0, atol=1e-4)

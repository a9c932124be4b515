"""k-reciprocal neighbourhoods against recorded ones and a per-sample implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ibc_pyg.graph.k_reciprocal import k_reciprocal_groups
from tests.helpers.torch_threads import torch_threads


def one_by_one(x: Any, size: int, k1: int) -> Any:
    """Apply the definition to each sample, with the full matrix of distances."""
    x = np.asarray(x, dtype=np.float64)
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, -1)
    order = np.argsort(distance, axis=1, kind="stable")
    half = int(np.around(k1 / 2))
    groups = []
    for i in range(len(x)):
        forward = order[i, : k1 + 1]
        mutual = forward[(order[forward, : k1 + 1] == i).any(1)]
        grown = list(mutual)
        for c in mutual:
            forward_c = order[c, : half + 1]
            mutual_c = forward_c[(order[forward_c, : half + 1] == c).any(1)]
            if 3 * len(np.intersect1d(mutual_c, mutual)) > 2 * len(mutual_c):
                grown += list(mutual_c)
        members = np.unique(grown)
        group = list(members[np.argsort(distance[i, members], kind="stable")[:size]])
        group += [j for j in order[i] if j not in group][: size - len(group)]
        groups.append(group)
    return np.array(groups)


def test_recorded_groups(shared: Path) -> None:
    with np.load(shared / "conformance" / "k_reciprocal.npz") as f:
        found = k_reciprocal_groups(torch.from_numpy(f["x"]), int(f["size"]), int(f["k1"]))
        x, recorded = f["x"], f["batches"]
    assert np.array_equal(found[:, 0].numpy(), recorded[:, 0])

    # Rows at equal distance may swap, so the distances of the members are compared.
    def distances(groups: Any) -> Any:
        return np.linalg.norm(x[groups] - x[:, None], axis=2)

    np.testing.assert_allclose(distances(found.numpy()), distances(recorded), atol=1e-5)


@pytest.mark.parametrize(
    ("n", "dim", "classes", "size", "k1"),
    [
        (300, 24, 10, 7, 30),
        (200, 8, 16, 40, 5),  # groups larger than the lists of neighbours
        (150, 3, 100, 60, 20),
        (50, 4, 4, 50, 60),  # all samples in a group, fewer samples than k1
        (90, 2, 3, 12, 3),  # k1 / 2 is rounded to even
        (40, 2, 3, 1, 1),
        (1, 2, 1, 1, 30),
    ],
)
def test_equals_one_by_one(n: int, dim: int, classes: int, size: int, k1: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(classes, dim))[rng.integers(classes, size=n)]
    x = (x + 0.5 * rng.normal(size=(n, dim))).astype(np.float32)
    expected = one_by_one(x, size, k1)
    for memory_budget, threads in ((1, 1), (1, 3), (2**30, 1), (10**5, 3)):
        with torch_threads(threads):
            found = k_reciprocal_groups(torch.from_numpy(x), size, k1, memory_budget=memory_budget)
        assert found.dtype == torch.long
        assert np.array_equal(found.numpy(), expected)


def test_copies_come_in_order_of_rows_after_the_sample_itself() -> None:
    x = torch.eye(3).repeat(20, 1)  # 20 copies of each of three points
    found = k_reciprocal_groups(x, 4, k1=5)
    assert found[:, 0].tolist() == list(range(60))
    assert torch.equal(found % 3, (torch.arange(60) % 3)[:, None].expand(60, 4))
    assert found[4].tolist() == [4, 1, 7, 10]


@pytest.mark.parametrize("scale", [2.0**70, 2.0**-80, 2.0**900])
def test_the_unit_does_not_matter(scale: float) -> None:
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(k_reciprocal_groups(x * scale, 7), k_reciprocal_groups(x, 7))


@pytest.mark.parametrize("seed", range(20))
def test_copies_are_in_order_wherever_they_lie(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    n, dim = (int(torch.randint(5, 70, (1,), generator=draws)) for _ in range(2))
    which = torch.randint(2, (n,), generator=draws)
    x = torch.randn(2, dim, generator=draws)[which]
    for i, group in enumerate(k_reciprocal_groups(x, n, k1=1)):
        same = [j for j in range(n) if which[j] == which[i] and j != i]
        assert group[: len(same) + 1].tolist() == [i, *same]


def test_gallery_alone_gives_the_neighbours_of_a_query() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(5, 8))[rng.integers(5, size=120)]).float()
    x += 0.5 * torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    q, g = x[:20], x[20:]
    found = k_reciprocal_groups(q, 7, gallery=g)
    assert found.shape == (20, 6)
    # A query alone in the gallery has the same group, apart from its own row.
    for i in range(20):
        alone = k_reciprocal_groups(q[i : i + 1], 7, gallery=g)
        assert torch.equal(alone[0], found[i])
    joined = torch.stack(
        [k_reciprocal_groups(torch.cat([q[i : i + 1], g]), 7)[0, 1:] - 1 for i in range(20)]
    )
    assert (joined == found).float().mean() > 0.9  # the query may change a gallery item's lists


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 11}, "size is 11, but only 10"),
        ({"size": 0}, "size must be at least 1"),
        ({"k1": 0}, "k1 must be at least 1"),
        ({"features": torch.zeros(0, 2)}, r"features has shape \(0, 2\)"),
        ({"features": torch.full((10, 2), torch.nan)}, "features has NaN"),
        ({"features": torch.eye(10, 2, dtype=torch.complex64)}, "dtype torch.complex64"),
        ({"gallery": torch.zeros(5, 3)}, "gallery has 3 dimensions"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    defaults: dict[str, Any] = {"features": torch.eye(10, 2), "size": 3}
    with pytest.raises(ValueError, match=message):
        k_reciprocal_groups(**(defaults | arguments))

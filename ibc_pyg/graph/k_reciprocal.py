"""k-reciprocal nearest neighbours of every sample, without labels."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibc_pyg.graph.nearest import marked_first, nearest
from ibc_pyg.graph.products import plain_float32
from ibc_pyg.threads import map_in_threads, thread_count


@plain_float32()
def k_reciprocal_groups(
    features: Tensor,
    size: int,
    k1: int = 30,
    *,
    gallery: Tensor | None = None,
    memory_budget: int = 2**30,
) -> Tensor:
    """Find the k-reciprocal neighbourhood of every sample, the sample itself first.

    Two samples are k-reciprocal neighbours if each is among the `k1` nearest of the other. The set
    of a sample is expanded by the `k1 / 2`-reciprocal set of each member of which more than two
    thirds already lie in the sample's set. The nearest `size` members of the expanded set are the
    group; if it has fewer, nearest neighbours fill the group.

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding",
    CVPR 2017, section 3.2, https://arxiv.org/abs/1701.08398.

    Args:
        features: Floating point `[N, D]`. Distances are Euclidean (normalise for cosine) and
            computed in float32 around the mean, to 1e-7 of the largest distance from it.
        size: Number of members of a group, the sample itself included.
        k1: Length of the neighbour lists that must be mutual.
        gallery: `[M, D]`. If given, `features` are queries whose neighbours come from the gallery
            alone, so that the group of a query does not depend on other queries: a gallery item is
            reciprocal if the query is closer to it than its `k1`-th neighbour in the gallery.
        memory_budget: Bytes of memory beyond the inputs and the result.

    Returns:
        Int64 `[N, size]`, rows of `features`: column 0 is the sample itself, then members by
        distance (the lower row first at equal distance), then the filling neighbours by distance.
        With a `gallery`: `[N, size - 1]`, rows of the gallery, without the query itself.

    Raises:
        ValueError: If shapes do not fit, features are not finite, or `size` or `k1` is out of range
            for the number of samples.
    """
    _check(features, "features")
    if gallery is not None:
        _check(gallery, "gallery")
        if gallery.shape[1] != features.shape[1]:
            raise ValueError(
                f"gallery has {gallery.shape[1]} dimensions, features {features.shape[1]}"
            )
    if k1 < 1:
        raise ValueError(f"k1 must be at least 1, got {k1}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    base = features if gallery is None else gallery
    available = len(base) + (gallery is not None)
    if size > available:
        raise ValueError(f"size is {size}, but only {available} samples can be in a group")
    x = _compact(features, base)
    g = x if gallery is None else _compact(gallery, base)
    listed = max(k1 + 1, size)
    own = reciprocal_lists(g, k1, listed, memory_budget)
    lists, wanted = own, size
    if gallery is not None:
        near, distance = nearest(x, g, listed, memory_budget=memory_budget)
        width = own.mutual.shape[1]
        lists = replace(own, near=near, mutual=distance[:, :width] <= own.reach[near[:, :width]])
        wanted = size - 1
    out = torch.empty(len(x), wanted, dtype=torch.long, device=x.device)

    def cut(expanded: tuple[slice, Tensor]) -> None:
        part, member = expanded
        out[part] = _cut(lists.near[part], member, x[part], g, wanted)

    deque(map_in_threads(cut, expanded_sets(lists, own, memory_budget), x.device), maxlen=0)
    return out


@dataclass(frozen=True)
class ReciprocalLists:
    """Nearest neighbours and which of them are mutual.

    Attributes:
        near: Nearest samples by ascending distance, the sample itself first, int64 `[N, L]`.
        mutual: Whether `near` has the sample among its own k1 nearest, bool `[N, k1 + 1]`.
        half_mutual: The same for the k1 / 2 nearest, bool `[M, k1 / 2 + 1]`.
        reach: Squared distance to the k1-th nearest, `[M]`.
    """

    near: Tensor
    mutual: Tensor
    half_mutual: Tensor
    reach: Tensor


def reciprocal_lists(x: Tensor, k1: int, listed: int, memory_budget: int) -> ReciprocalLists:
    """List the `listed` nearest of every sample `[N, D]` and mark the mutual ones.

    With fewer samples the lists are shorter.
    """
    width = min(k1 + 1, len(x))
    half = min(round(k1 / 2) + 1, len(x))
    near, distance = nearest(x, x, listed, itself=True, memory_budget=memory_budget)
    return ReciprocalLists(
        near,
        _mutual(near, width, memory_budget),
        _mutual(near, half, memory_budget),
        distance[:, width - 1],
    )


def expanded_sets(
    lists: ReciprocalLists, own: ReciprocalLists, memory_budget: int
) -> Iterator[tuple[slice, Tensor]]:
    """Return the expanded reciprocal sets, a chunk of samples at a time.

    Args:
        lists: Lists of the N samples.
        own: Lists of the M samples that neighbours are taken from.
        memory_budget: Bytes of memory for a chunk.

    Yields:
        A range of samples and their sets, bool `[n, M]`.
    """
    count, half = own.near.shape[0], own.half_mutual.shape[1]
    width = lists.mutual.shape[1]
    device = lists.near.device
    memory_budget //= thread_count(device)
    rows = max(1, min(1024, memory_budget // (24 * width * half + 2 * count)))

    def expand(start: int) -> tuple[slice, Tensor]:
        part = slice(start, start + rows)
        near, mutual = lists.near[part, :width], lists.mutual[part]
        return part, _expand(near, mutual, own.near[:, :half], own.half_mutual, count)

    return map_in_threads(expand, range(0, len(lists.near), rows), device)


def _check(x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}, expected floating")
    if x.ndim != 2 or x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected [N, D] with entries")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} has NaN or infinite values")


def _compact(x: Tensor, base: Tensor) -> Tensor:
    # Neighbours do not depend on origin and unit. Centring keeps the most digits in float32, and
    # scaling keeps squares from overflow and underflow.
    mean = base.detach().mean(0, dtype=torch.float64).to(x.device)  # [D]
    size = float((base.detach() - mean).abs().max())
    unit = 2.0 ** (math.frexp(size)[1] - 1)  # a power of two: no rounding
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)

    def compact(start: int) -> None:
        rows = slice(start, start + 1024)
        out[rows] = ((x.detach()[rows] - mean) / unit).float()

    deque(map_in_threads(compact, range(0, len(x), 1024), x.device), maxlen=0)
    return out


def _mutual(near: Tensor, width: int, memory_budget: int) -> Tensor:
    """Mark the first `width` neighbours that have the sample among theirs, bool `[N, width]`."""
    near = near[:, :width]
    out = torch.empty(near.shape, dtype=torch.bool, device=near.device)
    memory_budget //= thread_count(near.device)
    rows = max(1, min(1024, memory_budget // (10 * width * width)))

    def mark(start: int) -> None:
        part = near[start : start + rows]
        own = torch.arange(start, start + len(part), device=near.device)
        out[start : start + rows] = (near[part] == own[:, None, None]).any(2)  # [n, width]

    deque(map_in_threads(mark, range(0, len(near), rows), near.device), maxlen=0)
    return out


def _expand(near: Tensor, mutual: Tensor, half: Tensor, half_mutual: Tensor, count: int) -> Tensor:
    """Expand the reciprocal sets of n samples, bool `[n, M]`."""
    n = len(near)
    # The extra column receives the entries that must not be marked.
    member = torch.zeros(n, count + 1, dtype=torch.bool, device=near.device)
    member.scatter_(1, torch.where(mutual, near, count), True)
    member[:, count] = False
    candidates = half[near]  # [n, K, H]
    valid = half_mutual[near] & mutual[:, :, None]  # [n, K, H]
    flat = candidates.flatten(1)  # [n, K * H]
    inside = member.gather(1, flat).view_as(valid) & valid  # [n, K, H]
    accepted = 3 * inside.sum(2) > 2 * valid.sum(2)  # [n, K]
    chosen = (valid & accepted[:, :, None]).flatten(1)  # [n, K * H]
    member.scatter_(1, torch.where(chosen, flat, count), True)
    return member[:, :count]


def _cut(near: Tensor, member: Tensor, x: Tensor, g: Tensor, size: int) -> Tensor:
    """Take the nearest `size` members, then the nearest other samples, `[n, size]`."""
    inside = member.gather(1, near)  # [n, L]
    out = marked_first(near, inside)[:, :size]  # [n, size]
    # Members that are not in the list precede the filling neighbours.
    for i in torch.nonzero(inside.sum(1) < size).flatten().tolist():
        members = torch.nonzero(member[i]).flatten()
        far = members[~torch.isin(members, near[i])]
        if len(far) == 0:
            continue
        far = far[(g[far] - x[i]).square().sum(1).sort(stable=True).indices]
        head = near[i][inside[i]]
        fill = near[i][~inside[i]]
        out[i] = torch.cat([head, far, fill])[:size]
    return out

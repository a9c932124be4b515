"""Ranks of every query's matches, from tiles of the matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products
from ibc_pyg.metrics.exact.closeness import Matches, Tally
from ibc_pyg.metrics.exact.similarity import Space, swapped

_ROWS = 512
_COLUMNS = 2048
# Rows of a symmetric tile, whole classes at a time.
_SQUARE = 1536
# Closeness of padding: below everything, and finite.
_FAR = -3e38


@dataclass(frozen=True)
class MatchRanks:
    """How many items of other classes come before the matches of some queries.

    Attributes:
        matches: [n] R, the number of gallery items of the query's class.
        ahead: [n, max R]; entry j is the number of items of other classes ranked before the
            query's j-th match; exact where it is below max(R, largest k), else at least that.
    """

    matches: Tensor
    ahead: Tensor


def match_ranks(
    space: Space,
    query_classes: Tensor,
    gallery_classes: Tensor,
    *,
    same_set: bool,
    k: int,
    matches_first: bool,
    memory_budget: int,
) -> Iterator[MatchRanks]:
    """Rank the matches of every query that has one.

    Args:
        space: queries [Q, D] and gallery [N, D].
        query_classes: [Q] int64, from 0.
        gallery_classes: [N] int64, from 0.
        same_set: queries are the gallery: item i is not in the gallery of query i.
        k: counts matter up to this number of items.
        matches_first: whether a match comes before the items as close as it; otherwise the lower
            gallery index comes first.
        memory_budget: bytes that may be used beyond the space.

    Yields:
        The ranks of some queries at a time, in no particular order.

    """
    classes = int(max(query_classes.max(), gallery_classes.max())) + 1
    sizes = torch.bincount(gallery_classes, minlength=classes)  # [C]
    asked = torch.bincount(query_classes, minlength=classes) > 0  # [C]
    # Classes in the order of their sizes, those without a query last: the matches of neighbouring
    # queries are then neighbours in `by_class`, and of similar number.
    turn = torch.where(asked, sizes, len(gallery_classes) + 1).argsort().argsort()  # [C]
    query_classes, gallery_classes = turn[query_classes], turn[gallery_classes]
    by_class = gallery_classes.argsort(stable=True)  # [N]
    sizes = torch.bincount(gallery_classes, minlength=classes)  # [C]
    if not bool(space.gallery[:, -1].any()):
        yield from _all_tied(query_classes, by_class, sizes, same_set, matches_first)
        return
    if same_set and _fits(sizes, memory_budget):
        tallies = _two_sided(space, by_class, sizes, k, matches_first)
    else:
        tallies = _one_sided(
            space, query_classes, by_class, sizes, same_set, k, matches_first, memory_budget
        )
    for tally in tallies:
        yield MatchRanks(tally.sizes, tally.count[:, :-1].cumsum(1))


def _all_tied(
    query_classes: Tensor, by_class: Tensor, sizes: Tensor, same_set: bool, matches_first: bool
) -> Iterator[MatchRanks]:
    """Rank the matches in a gallery of copies of one vector, as a collapsed model makes it."""
    for size in sorted(set(sizes.tolist())):
        classes = torch.nonzero(sizes == size).flatten()  # [c]
        if size <= int(same_set):
            continue
        first = sizes.cumsum(0)[classes] - size  # [c]
        names = by_class[first[:, None] + torch.arange(size, device=by_class.device)]  # [c, R]
        # What comes before an item is what has a lower index, less its own class.
        ahead = names - torch.arange(size, device=by_class.device)  # [c, R]
        if matches_first:
            ahead = torch.zeros_like(ahead)
        number = torch.full_like(sizes, -1)
        number[classes] = torch.arange(len(classes), device=by_class.device)
        if not same_set:
            chosen = ahead[number[query_classes[number[query_classes] >= 0]]]  # [n, R]
            if len(chosen) > 0:
                yield MatchRanks(torch.full_like(chosen[:, 0], size), chosen)
            continue
        for own in range(size):  # the query's own place among its class
            others = torch.cat([ahead[:, :own], ahead[:, own + 1 :]], 1)  # [c, R - 1]
            yield MatchRanks(torch.full_like(others[:, 0], size - 1), others)


def _fits(sizes: Tensor, memory_budget: int) -> bool:
    """Tell whether all matches and two tiles of whole classes stay within the budget."""
    pairs = int(sizes.square().sum())
    rows = _SQUARE + int(sizes.max())
    vectors = int(sizes.sum()) * 64
    return 100 * pairs + 16 * rows**2 + vectors <= memory_budget and rows <= 4 * _SQUARE


def _two_sided(
    space: Space, by_class: Tensor, sizes: Tensor, k: int, matches_first: bool
) -> Iterator[Tally]:
    """Let each tile serve the queries of its rows and those of its columns.

    Among the items of one set closeness is symmetric, so half of all tiles are enough. With items
    sorted by class, and tiles of whole classes, only the tiles on the diagonal have matches.
    """
    classes = torch.repeat_interleave(sizes)  # [N]
    alone = int((sizes == 1).sum())
    edges = _edges(sizes[sizes > 1].tolist(), alone)
    spans = list(pairwise(edges))
    names, vectors, tallies = [], [], []
    for begin, end in spans:
        index = by_class[begin:end]  # [n]
        names.append(_padded(index, 0))
        vectors.append(_padded(space.gallery[index], _FAR))  # [n', D + 2]
        scores = pair_products(swapped(vectors[-1].clone()), vectors[-1])  # [n', n']
        scores = scores[: end - begin]  # [n, n']
        same = classes[begin:end, None] == classes[None, begin:end]  # [n, n]
        same.fill_diagonal_(False)
        row, column = torch.nonzero(same, as_tuple=True)  # [P]
        matches = Matches(row, index[column], scores[row, column], sizes[classes[begin:end]] - 1)
        scores[:, : end - begin].masked_fill_(same, -torch.inf).fill_diagonal_(-torch.inf)
        tally = Tally(space, index, matches, k=k, matches_first=matches_first)
        tally.take(scores, names[-1])
        tallies.append(tally)
    singles = _padded(by_class[:alone], 0)  # items that are in no query's class
    room = max((len(v) for v in vectors), default=0) * max(_SQUARE, *map(len, vectors), 0)
    one, other = (torch.empty(room, device=by_class.device) for _ in range(2))
    for i, tally in enumerate(tallies):
        left = swapped(vectors[i].clone())  # [n', D + 2]
        n = len(tally.queries)
        for begin in range(0, alone, _SQUARE):
            index = singles[begin : begin + _SQUARE]
            right = _padded(space.gallery[by_class[begin : min(alone, begin + _SQUARE)]], _FAR)
            tally.take(_product(left, right, one)[:n], index)
        for j in range(i + 1, len(tallies)):
            scores = _product(left, vectors[j], one)  # [n', m']
            tally.take(scores[:n], names[j])
            turned = other[: scores.numel()].view(scores.T.shape).copy_(scores.T)  # [m', n']
            tallies[j].take(turned[: len(tallies[j].queries)], names[i])
        vectors[i] = left[:0]
        tally.finish()
        yield tally


def _product(left: Tensor, right: Tensor, buffer: Tensor) -> Tensor:
    """Multiply into the memory of a flat buffer, [n, m]: new memory would cost time."""
    n, m = len(left), len(right)
    return pair_products(left, right, out=buffer[: n * m].view(n, m))


def _edges(sizes: list[int], begin: int) -> list[int]:
    """Cut classes into runs of about `_SQUARE` items."""
    edges = [begin]
    end = begin
    for size in sizes:
        if end + size - edges[-1] > _SQUARE and end > edges[-1]:
            edges.append(end)
        end += size
    return [*edges, end] if end > edges[-1] else edges


def _padded(x: Tensor, bias: float) -> Tensor:
    """Fill up to a multiple of 32 rows; the last column of what is added is `bias`."""
    extra = -len(x) % 32
    if extra == 0:
        return x
    out = x.new_zeros(len(x) + extra, *x.shape[1:])
    out[: len(x)] = x
    if x.ndim == 2:
        out[len(x) :, -2] = 1
        out[len(x) :, -1] = bias
    return out


def _one_sided(
    space: Space,
    query_classes: Tensor,
    by_class: Tensor,
    sizes: Tensor,
    same_set: bool,
    k: int,
    matches_first: bool,
    memory_budget: int,
) -> Iterator[Tally]:
    """Take a tile of queries at a time over the whole gallery."""
    device = by_class.device
    first = sizes.cumsum(0) - sizes  # [C]
    matches = sizes[query_classes] - int(same_set)  # [Q]
    order = query_classes.argsort(stable=True)
    order = order[matches[order] > 0]
    counts = matches[order].tolist()
    gallery = space.gallery[by_class]  # [N, D + 2]
    begin = 0
    while begin < len(order):
        rows = _tile_rows(counts, begin, memory_budget)
        queries = order[begin : begin + rows]  # [n]
        begin += rows
        n = len(queries)
        columns = max(32, min(_COLUMNS, memory_budget // 2 // (16 * n)) // 32 * 32)
        buffer = torch.empty(n * columns, device=device)
        left = space.left(queries)  # [n, D + 2]
        owned = query_classes[queries]  # [n]
        # The matches of all these queries lie side by side.
        low = int(first[owned].min())
        high = int((first[owned] + sizes[owned]).max())
        row = torch.repeat_interleave(torch.arange(n, device=device), sizes[owned])  # [P]
        place = torch.arange(len(row), device=device)
        place -= (sizes[owned].cumsum(0) - sizes[owned] - first[owned] + low)[row]
        scores = pair_products(left, _padded(gallery[low:high], _FAR))  # [n, M]
        name, screen = by_class[low + place], scores[row, place]  # [P]
        scores[row, place] = -torch.inf
        if same_set:
            other = name != queries[row]
            row, name, screen = row[other], name[other], screen[other]
        tally = Tally(
            space,
            queries,
            Matches(row, name, screen, matches[queries]),
            k=k,
            matches_first=matches_first,
        )
        tally.take(scores, _padded(by_class[low:high], 0))
        del scores
        for start, end in ((0, low), (high, len(gallery))):
            for a in range(start, end, columns):
                b = min(end, a + columns)
                scores = _product(left, _padded(gallery[a:b], _FAR), buffer)  # [n, M]
                tally.take(scores, _padded(by_class[a:b], 0))
        tally.finish()
        yield tally


def _tile_rows(counts: list[int], begin: int, memory_budget: int) -> int:
    rows = min(_ROWS, len(counts) - begin)
    # Pairs cost about 100 bytes each, and the product of queries with matches 4 more.
    while rows > 1 and 128 * rows * counts[begin + rows - 1] > memory_budget // 2:
        rows //= 2
    return rows

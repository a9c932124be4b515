"""Ranks of the matches of every query, from tiles of the matrix of all pairs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from threading import Lock

import torch
from torch import Tensor

from ibc_pyg.graph.products import pair_products
from ibc_pyg.metrics.exact.closeness import ClosenessCounter, Matches, Ranking
from ibc_pyg.metrics.exact.similarity import Similarity, transposed
from ibc_pyg.threads import map_in_threads, thread_count

# Bound of padding: below everything, and finite.
_FAR = -3e38
_LEAST_SQUARE = 512
_LEAST_ROWS = 128


@dataclass(frozen=True)
class Classes:
    """Classes of queries and gallery.

    Attributes:
        queries: `[Q]` int64, from 0.
        gallery: `[N]` int64, from 0.
        same_set: Whether the queries are the gallery; item i is then not in query i's gallery.
    """

    queries: Tensor
    gallery: Tensor
    same_set: bool


@dataclass(frozen=True)
class MatchRanks:
    """Number of items of other classes before the matches of some queries.

    Attributes:
        matches: `[n]` R, the number of gallery items of the query's class.
        ahead: `[n, max R]`; entry j is the number of items of other classes ranked before the
            query's j-th match; exact where it is below max(R, largest k), else a lower bound that
            is not below it.
    """

    matches: Tensor
    ahead: Tensor

    def cpu(self) -> MatchRanks:
        """Return the ranks in main memory, where means are summed in one order for all devices."""
        return MatchRanks(self.matches.cpu(), self.ahead.cpu())


def match_ranks(
    similarity: Similarity, classes: Classes, ranking: Ranking, memory_budget: int
) -> Iterator[MatchRanks]:
    """Rank the matches of every query that has one.

    Args:
        similarity: Queries `[Q, D]` and gallery `[N, D]`.
        classes: Classes of both.
        ranking: Rules of the ranking.
        memory_budget: Bytes that may be used beyond `similarity`.

    Yields:
        The ranks of some queries at a time, in no particular order.
    """
    query_classes, gallery_classes = classes.queries, classes.gallery
    count = int(max(query_classes.max(), gallery_classes.max())) + 1
    sizes = torch.bincount(gallery_classes, minlength=count)  # [C]
    asked = torch.bincount(query_classes, minlength=count) > 0  # [C]
    # Classes by size, those without a query last: the matches of neighbouring queries are then
    # adjacent in `by_class`, and similar in number.
    turn = torch.where(asked, sizes, len(gallery_classes) + 1).argsort().argsort()  # [C]
    classes = Classes(turn[query_classes], turn[gallery_classes], classes.same_set)
    by_class = classes.gallery.argsort(stable=True)  # [N]
    sizes = torch.bincount(classes.gallery, minlength=count)  # [C]
    if not bool(similarity.gallery[:, -1].any()):
        yield from _all_tied(classes, by_class, sizes, ranking.matches_first)
        return
    threads = thread_count(by_class.device)
    # Two spans for each thread, unless they become too small for an efficient product.
    even = -(-len(by_class) // (2 * threads)) + int(sizes.max())
    square = min(ranking.sizes.square, max(_LEAST_SQUARE, even))
    if classes.same_set and _fits(sizes, square, threads, memory_budget):
        counters = _two_sided(similarity, by_class, sizes, ranking, square)
    else:
        counters = _one_sided(similarity, classes, by_class, sizes, ranking, memory_budget)
    for counter in counters:
        yield MatchRanks(counter.sizes, counter.count[:, :-1].cumsum(1))


def _all_tied(
    classes: Classes, by_class: Tensor, sizes: Tensor, matches_first: bool
) -> Iterator[MatchRanks]:
    """Rank the matches in a gallery of copies of one vector, as of a collapsed model."""
    same_set = classes.same_set
    for size in sorted(set(sizes.tolist())):
        sized = torch.nonzero(sizes == size).flatten()  # [c]
        if size <= int(same_set):
            continue
        first = sizes.cumsum(0)[sized] - size  # [c]
        names = by_class[first[:, None] + torch.arange(size, device=by_class.device)]  # [c, R]
        # Items of other classes with a lower index come first.
        ahead = names - torch.arange(size, device=by_class.device)  # [c, R]
        if matches_first:
            ahead = torch.zeros_like(ahead)
        number = torch.full_like(sizes, -1)
        number[sized] = torch.arange(len(sized), device=by_class.device)
        if not same_set:
            chosen = number[classes.queries]  # [Q]
            chosen = ahead[chosen[chosen >= 0]]  # [n, R]
            if len(chosen) > 0:
                yield MatchRanks(torch.full_like(chosen[:, 0], size), chosen)
            continue
        for own in range(size):  # rank of the query in its class
            others = torch.cat([ahead[:, :own], ahead[:, own + 1 :]], 1)  # [c, R - 1]
            yield MatchRanks(torch.full_like(others[:, 0], size - 1), others)


def _fits(sizes: Tensor, square: int, threads: int, memory_budget: int) -> bool:
    """Return whether all matches and each thread's tiles of whole classes fit into the budget."""
    pairs = int(sizes.square().sum())
    rows = square + int(sizes.max())
    vectors = int(sizes.sum()) * 64
    return 100 * pairs + 16 * threads * rows**2 + vectors <= memory_budget and rows <= 4 * square


def _two_sided(
    similarity: Similarity, by_class: Tensor, sizes: Tensor, ranking: Ranking, square: int
) -> Iterator[ClosenessCounter]:
    """Use each tile for the queries of its rows and for those of its columns.

    Within one set similarity is symmetric, so half of all tiles are enough. With items sorted by
    class, and tiles of whole classes, only the tiles on the diagonal have matches.
    """
    device = by_class.device
    classes = torch.repeat_interleave(sizes)  # [N]
    alone = int((sizes == 1).sum())
    spans = list(pairwise(_edges(sizes[sizes > 1].tolist(), alone, square)))

    def on_diagonal(span: tuple[int, int]) -> ClosenessCounter:
        begin, end = span
        index = by_class[begin:end]  # [n]
        vectors = _padded(similarity.gallery[index], _FAR)  # [n', D + 2]
        scores = pair_products(transposed(vectors.clone()), vectors)[: end - begin]  # [n, n']
        same = classes[begin:end, None] == classes[None, begin:end]  # [n, n]
        same.fill_diagonal_(False)
        row, column = torch.nonzero(same, as_tuple=True)  # [P]
        matches = Matches(row, index[column], scores[row, column], sizes[classes[begin:end]] - 1)
        scores[:, : end - begin].masked_fill_(same, -torch.inf).fill_diagonal_(-torch.inf)
        counter = ClosenessCounter(similarity, index, matches, ranking)
        counter.take(scores, _padded(index, 0))
        return counter

    counters = list(map_in_threads(on_diagonal, spans, device))
    locks = [Lock() for _ in counters]

    def multiply(row: int, begin: int, end: int) -> Tensor:
        queries = similarity.query_side(counters[row].queries)  # [n, D + 2]
        index = by_class[begin:end]  # [m]
        scores = pair_products(queries, _padded(similarity.gallery[index], _FAR))  # [n, m']
        with locks[row]:
            counters[row].take(scores, _padded(index, 0))
        return scores

    def beside_diagonal(tile: tuple[int, int]) -> None:
        row, column = tile
        scores = multiply(row, *spans[column])  # [n, m']
        queries = _padded(counters[row].queries, 0)  # [n']
        n, m = len(scores), len(counters[column].queries)
        turned = scores.new_full((m, len(queries)), -torch.inf)  # [m, n']
        turned[:, :n] = scores[:, :m].T
        del scores
        with locks[column]:
            counters[column].take(turned, queries)

    def without_match(tile: tuple[int, int]) -> None:
        row, begin = tile
        multiply(row, begin, min(alone, begin + square))

    singles = list(product(range(len(spans)), range(0, alone, square)))
    deque(map_in_threads(without_match, singles, device), maxlen=0)
    # Diagonal by diagonal: threads rarely wait for a span that another one counts.
    tiles = [
        (row, row + offset) for offset in range(1, len(spans)) for row in range(len(spans) - offset)
    ]
    deque(map_in_threads(beside_diagonal, tiles, device), maxlen=0)
    yield from map_in_threads(_finished, counters, device)


def _finished(counter: ClosenessCounter) -> ClosenessCounter:
    counter.finish()
    return counter


def _product(queries: Tensor, gallery: Tensor, buffer: Tensor) -> Tensor:
    """Multiply into the memory of a flat buffer, `[n, m]`, which saves its allocation."""
    n, m = len(queries), len(gallery)
    return pair_products(queries, gallery, out=buffer[: n * m].view(n, m))


def _edges(sizes: list[int], begin: int, square: int) -> list[int]:
    """Divide classes into spans of about `square` items."""
    edges = [begin]
    end = begin
    for size in sizes:
        if end + size - edges[-1] > square and end > edges[-1]:
            edges.append(end)
        end += size
    return [*edges, end] if end > edges[-1] else edges


def _padded(x: Tensor, bias: float) -> Tensor:
    """Pad to a multiple of 32 rows, whose last column is `bias`."""
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
    similarity: Similarity,
    classes: Classes,
    by_class: Tensor,
    sizes: Tensor,
    ranking: Ranking,
    memory_budget: int,
) -> Iterator[ClosenessCounter]:
    """Take a tile of queries at a time over the whole gallery."""
    device = by_class.device
    memory_budget //= thread_count(device)
    first = sizes.cumsum(0) - sizes  # [C]
    matches = sizes[classes.queries] - int(classes.same_set)  # [Q]
    order = classes.queries.argsort(stable=True)
    order = order[matches[order] > 0]
    gallery = similarity.gallery[by_class]  # [N, D + 2]

    def count(index: Tensor) -> ClosenessCounter:
        n = len(index)
        columns = max(32, min(ranking.sizes.columns, memory_budget // 2 // (16 * n)) // 32 * 32)
        buffer = torch.empty(n * columns, device=device)
        queries = similarity.query_side(index)  # [n, D + 2]
        owned = classes.queries[index]  # [n]
        # The matches of all these queries are adjacent.
        low = int(first[owned].min())
        high = int((first[owned] + sizes[owned]).max())
        row = torch.repeat_interleave(torch.arange(n, device=device), sizes[owned])  # [P]
        place = torch.arange(len(row), device=device)
        place -= (sizes[owned].cumsum(0) - sizes[owned] - first[owned] + low)[row]
        scores = pair_products(queries, _padded(gallery[low:high], _FAR))  # [n, M]
        name, bound = by_class[low + place], scores[row, place]  # [P]
        scores[row, place] = -torch.inf
        if classes.same_set:
            other = name != index[row]
            row, name, bound = row[other], name[other], bound[other]
        counter = ClosenessCounter(
            similarity, index, Matches(row, name, bound, matches[index]), ranking
        )
        counter.take(scores, _padded(by_class[low:high], 0))
        del scores
        for start, end in ((0, low), (high, len(gallery))):
            for a in range(start, end, columns):
                b = min(end, a + columns)
                scores = _product(queries, _padded(gallery[a:b], _FAR), buffer)  # [n, M]
                counter.take(scores, _padded(by_class[a:b], 0))
        counter.finish()
        return counter

    even = -(-len(order) // (2 * thread_count(device)))
    most = min(ranking.sizes.rows, max(_LEAST_ROWS, even))
    tiles = _query_tiles(order, matches[order].tolist(), most, memory_budget)
    return map_in_threads(count, tiles, device)


def _query_tiles(
    order: Tensor, counts: list[int], most: int, memory_budget: int
) -> Iterator[Tensor]:
    """Divide queries, with ascending numbers of matches, into tiles of at most `most`."""
    begin = 0
    while begin < len(order):
        rows = _tile_rows(counts[begin : begin + most], memory_budget)
        yield order[begin : begin + rows]
        begin += rows


def _tile_rows(counts: list[int], memory_budget: int) -> int:
    """Return how many of the next queries, with ascending numbers of matches, fit into a tile."""
    rows = len(counts)
    # Pairs cost about 100 bytes each, and the product of queries with matches 4 more.
    while rows > 1 and 128 * rows * counts[rows - 1] > memory_budget // 2:
        rows //= 2
    return rows

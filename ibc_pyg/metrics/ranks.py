"""Ranks of every query's matches, by counting what lies closer: no list is ever sorted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.metrics.space import Space

_ROWS = 512
_COLUMNS = 8192
# Below this k, what lies closer than a match is listed; above it, it is only counted.
_LISTED = 32


@dataclass(frozen=True)
class MatchRanks:
    """How many other-class items come before the matches of some queries.

    Attributes:
        matches: [n] R, the number of gallery items of the query's class.
        ahead: [n, max R]; entry j is the number of items of other classes ranked before the
            query's j-th match; exact where it is below max(R, largest k), else at least that.

    """

    matches: Tensor
    ahead: Tensor


@dataclass(frozen=True)
class _Matches:
    """All (query, match) pairs of a tile of queries, ordered by query and then by closeness."""

    row: Tensor  # [P] query within the tile
    column: Tensor  # [P] gallery index
    screen: Tensor  # [P] float32
    key: Tensor  # [P] float64, ascending
    start: Tensor  # [n + 1] first pair of every query
    hidden_row: Tensor  # [P or P + n] pairs that are not "other-class items", by column
    hidden_column: Tensor  # [P or P + n]


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
    # Classes in the order of their sizes, those without a query last: the matches of a tile of
    # queries are then neighbours in `by_class`, and of similar number.
    turn = torch.where(asked, sizes, len(gallery_classes) + 1).argsort().argsort()  # [C]
    query_classes, gallery_classes = turn[query_classes], turn[gallery_classes]
    by_class = gallery_classes.argsort(stable=True)  # [N]
    sizes = torch.bincount(gallery_classes, minlength=classes)  # [C]
    first = sizes.cumsum(0) - sizes  # [C]
    matches = sizes[query_classes] - int(same_set)  # [Q]
    order = query_classes.argsort(stable=True)
    order = order[matches[order] > 0]
    counts = matches[order].tolist()
    begin = 0
    while begin < len(order):
        rows = _tile_rows(counts, begin, memory_budget)
        queries = order[begin : begin + rows]  # [n]
        begin += rows
        tile = _Tile(space, queries, k, matches_first, memory_budget)
        owned = query_classes[queries]  # [n]
        tile.find_matches(by_class, first[owned], sizes[owned], same_set)
        tile.scan()
        yield tile.result()


def _tile_rows(counts: list[int], begin: int, memory_budget: int) -> int:
    rows = min(_ROWS, len(counts) - begin)
    # Pairs cost about 100 bytes each, and the product of queries with matches 4 more.
    while rows > 1 and 128 * rows * counts[begin + rows - 1] > memory_budget // 2:
        rows //= 2
    return rows


class _Tile:
    """A tile of queries against the whole gallery, column tile by column tile."""

    def __init__(
        self, space: Space, queries: Tensor, k: int, matches_first: bool, memory_budget: int
    ) -> None:
        self.space = space
        self.indices = queries
        self.queries = space.queries[queries]  # [n, D]
        self.slack = (2 * space.tolerance[queries]).float() * 1.001  # [n]
        self.k = k
        self.matches_first = matches_first
        room = memory_budget // 2 // (16 * len(queries))
        columns = max(32, min(_COLUMNS, room))
        total = len(space.gallery)
        self.tiles = -(-total // columns)
        self.columns = -(-total // self.tiles)
        self.buffer = torch.empty(len(queries), -(-self.columns // 32) * 32, device=queries.device)
        self.unit = space.bound + 4 * float(space.tolerance.max()) or 1.0

    def find_matches(self, by_class: Tensor, first: Tensor, sizes: Tensor, same_set: bool) -> None:
        """Measure all matches of the queries and sort them.

        Args:
            by_class: [N] the gallery, class by class.
            first: [n] where the class of each query begins in `by_class`.
            sizes: [n] how many items of it there are.
            same_set: whether each query is among them, and to be left out.

        """
        device, n = self.buffer.device, len(self.buffer)
        row = torch.repeat_interleave(torch.arange(n, device=device), sizes)  # [P]
        position = torch.arange(len(row), device=device) - (sizes.cumsum(0) - sizes)[row]
        place = first[row] + position  # [P] position in by_class
        low, high = int(place.min()), int(place.max()) + 1
        column = by_class[place]
        hidden_row, hidden_column = row, column
        if self.tiles == 1:
            self._screen(0)
            screen = self.buffer[row, column]
        else:
            near = by_class[low:high]  # [M]
            score = torch.empty(n, len(near), device=device)
            self.space.screen(self.queries, self.space.gallery[near], self.space.bias[near], score)
            screen = score[row, place - low]
            hidden = column.argsort()
            hidden_row, hidden_column = row[hidden], column[hidden]
        if same_set:
            other = column != self.indices[row]
            row, column, screen = row[other], column[other], screen[other]
            sizes = sizes - 1
        key, order = (4.0 * row - screen.double() / self.unit).sort()
        start = torch.zeros(n + 1, dtype=torch.long, device=device)
        start[1:] = sizes.cumsum(0)
        self.pairs = _Matches(
            row[order], column[order], screen[order], key, start, hidden_row, hidden_column
        )
        self.matches = sizes
        self.width = int(sizes.max())
        self.listed = max(self.width, min(self.k, _LISTED))
        self.count = torch.zeros(n, self.width + 1, dtype=torch.long, device=device)

    def _screen(self, begin: int) -> None:
        """Fill the buffer with one column tile."""
        gallery = self.space.gallery[begin : begin + self.columns]  # [M, D]
        bias = self.space.bias[begin : begin + self.columns]  # [M]
        self.buffer[:, len(gallery) :] = -torch.inf
        self.space.screen(self.queries, gallery, bias, self.buffer[:, : len(gallery)])

    def scan(self) -> None:
        """Go over the whole gallery and count what comes before each match."""
        pairs = self.pairs
        buffer, width = self.buffer, self.columns
        n = len(buffer)
        best = pairs.screen[pairs.start[:-1]]  # [n]
        worst = pairs.screen[pairs.start[1:] - 1]  # [n]
        top = torch.full((n, self.listed), -torch.inf, device=buffer.device)
        group = _group(buffer.shape[1], self.listed)
        cuts = [0, len(pairs.hidden_row)]
        if self.tiles > 1:
            edges = torch.arange(0, self.tiles + 1, device=buffer.device) * width
            cuts = torch.searchsorted(pairs.hidden_column, edges).tolist()
        for t in range(self.tiles):
            begin = t * width
            if self.tiles > 1:
                self._screen(begin)
            hidden = slice(cuts[t], cuts[t + 1])
            buffer[pairs.hidden_row[hidden], pairs.hidden_column[hidden] - begin] = -torch.inf
            blocks = buffer.view(n, group, -1)  # [n, G, B]
            peak = blocks.amax(1)  # [n, B]
            if t & (t + 1) == 0:  # more often would not shorten the lists by much
                tops = peak.topk(min(self.listed, peak.shape[1]), sorted=False).values
                top = torch.cat([top, tops], 1).topk(self.listed, sorted=False).values  # [n, K]
                kth = top.amin(1)  # [n]
            late = kth > best + 2 * self.slack  # [n]
            level = torch.maximum(torch.minimum(kth, best), worst) - self.slack  # [n]
            level[late] = torch.inf
            hit_row, hit_block = torch.nonzero(peak >= level[:, None], as_tuple=True)  # [H]
            values = blocks[hit_row, :, hit_block]  # [H, G]
            hit, lane = torch.nonzero(values >= level[hit_row, None], as_tuple=True)  # [E]
            self._place(
                hit_row[hit],
                begin + lane * peak.shape[1] + hit_block[hit],
                values[hit, lane],
            )
            if self.k > self.listed:
                self._count_late(buffer, late & (self.count[:, 0] < self.k), best, begin)
            else:
                self.count[:, 0].masked_fill_(late, self.listed)

    def _count_late(self, buffer: Tensor, late: Tensor, best: Tensor, begin: int) -> None:
        """Count what lies closer than the best match of queries whose list would be too long."""
        rows = torch.nonzero(late).flatten()  # [r]
        if len(rows) == 0:
            return
        part = buffer[rows]  # [r, M]
        high = _count(part > (best + self.slack)[rows, None])  # [r]
        low = _count(part >= (best - self.slack)[rows, None])  # [r]
        self.count[rows, 0] += high
        unsure = torch.nonzero(low > high).flatten()  # [u]
        if len(unsure) == 0:
            return
        rows, part = rows[unsure], part[unsure]
        near = (part - best[rows, None]).abs() <= self.slack[rows, None]  # [u, M]
        near &= part <= (best + self.slack)[rows, None]
        row, column = torch.nonzero(near, as_tuple=True)
        self._place(rows[row], begin + column, part[row, column])

    def _place(self, row: Tensor, column: Tensor, screen: Tensor) -> None:
        """Count every item [E] at the number of matches that come before it."""
        key = 4.0 * row - screen.double() / self.unit  # [E]
        slack = self.slack[row].double() / self.unit
        before = torch.searchsorted(self.pairs.key, key - slack) - self.pairs.start[row]
        unsure = torch.searchsorted(self.pairs.key, key + slack, right=True)
        unsure = torch.nonzero(unsure - self.pairs.start[row] > before).flatten()
        if len(unsure) > 0:
            before[unsure] = self._settle(row[unsure], column[unsure], before[unsure], key[unsure])
        cell = row * (self.width + 1) + before
        self.count.view(-1).scatter_add_(0, cell, torch.ones_like(cell))

    def _settle(self, row: Tensor, column: Tensor, before: Tensor, key: Tensor) -> Tensor:
        """Count the matches that come before items [U] which the screen ties with matches."""
        pairs = self.pairs
        slack = self.slack[row].double() / self.unit
        begin = pairs.start[row] + before  # [U]
        length = torch.searchsorted(pairs.key, key + slack, right=True) - begin  # [U]
        needed = torch.zeros(len(pairs.row) + 1, dtype=torch.long, device=row.device)
        needed.scatter_add_(0, begin, torch.ones_like(begin))
        needed.scatter_add_(0, begin + length, -torch.ones_like(begin))
        pair = torch.nonzero(needed.cumsum(0)[:-1] > 0).flatten()  # [p]
        exact = torch.empty(len(pairs.row), dtype=torch.float64, device=row.device)
        exact[pair] = self.space.exact(self.indices[pairs.row[pair]], pairs.column[pair])
        value = self.space.exact(self.indices[row], column)  # [U]
        out = before.clone()
        step = max(1, 2**20 // int(length.max()))
        for i in range(0, len(row), step):
            part = slice(i, i + step)
            item = torch.repeat_interleave(length[part])  # [L]
            offset = torch.arange(len(item), device=row.device)
            offset -= (length[part].cumsum(0) - length[part])[item]
            match = begin[part][item] + offset  # [L]
            tie = exact[match] == value[part][item]
            if not self.matches_first:
                tie &= pairs.column[match] < column[part][item]
            wins = (exact[match] > value[part][item]) | tie
            out[part] += torch.bincount(item[wins], minlength=len(length[part]))
        return out

    def result(self) -> MatchRanks:
        """Turn the counts into ranks."""
        return MatchRanks(self.matches, self.count[:, :-1].cumsum(1))


def _group(columns: int, k: int) -> int:
    """Columns per block: the blocks' maxima stand in for all columns in finding the k best."""
    for group in (32, 16, 8, 4, 2):
        if columns // group >= 4 * k:
            return group
    return 1


def _count(mask: Tensor) -> Tensor:
    """Count True per row, [n]; the width a multiple of 8: bytes are added eight at once."""
    words = mask.view(torch.int64)  # [n, W]
    total = torch.zeros(len(mask), dtype=torch.long, device=mask.device)
    for start in range(0, words.shape[1], 255):  # a byte can hold 255
        sums = words[:, start : start + 255].sum(1, keepdim=True)  # [n, 1]
        total += sums.view(torch.uint8).sum(1)
    return total

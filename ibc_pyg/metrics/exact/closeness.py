"""Counts of gallery items that are closer to a query than its matches, without sorting."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ibc_pyg.metrics.exact.similarity import Similarity


@dataclass(frozen=True)
class TileSizes:
    """Sizes of the tiles of the matrix of all pairs; no result depends on them.

    Attributes:
        rows: Most queries of a tile.
        columns: Most gallery items of a tile.
        square: Rows of a symmetric tile, which has whole classes.
        listed: Largest k up to which all items closer than a match are listed; above it, some are
            only counted.
        held: Listed items that are kept back until the thresholds have risen.
    """

    rows: int = 1024
    columns: int = 2048
    square: int = 1536
    listed: int = 32
    held: int = 2**21


@dataclass(frozen=True)
class Ranking:
    """Rules of a ranking.

    Attributes:
        k: Counts matter up to this number of items.
        matches_first: Whether a match precedes the items that are equally close; otherwise the
            lower gallery index comes first.
        sizes: Sizes of the tiles.
    """

    k: int
    matches_first: bool
    sizes: TileSizes = field(default_factory=TileSizes)


@dataclass(frozen=True)
class Matches:
    """All (query, match) pairs of some queries.

    Attributes:
        row: `[P]` number of the query among them, ascending.
        name: `[P]` gallery index.
        bound: `[P]` float32 bound.
        sizes: `[n]` number of matches of each query, at least 1.
    """

    row: Tensor
    name: Tensor
    bound: Tensor
    sizes: Tensor


class ClosenessCounter:
    """Ranks of the matches of n queries, from tiles of the float32 bound that come one by one.

    Items of other classes are placed between the matches: `count[i, p]` is the number of items
    after p of query i's matches. Only items that can matter are examined: those closer than the
    worst match, and not behind as many others as there are matches. A query whose best match falls
    behind that many others is *late*: from then on the items before its best match are counted.

    Attributes:
        sizes: `[n]` number of matches.
        count: `[n, max R + 1]`.
    """

    def __init__(
        self, similarity: Similarity, queries: Tensor, matches: Matches, ranking: Ranking
    ) -> None:
        """Start with empty counts.

        Args:
            similarity: Source of the exact measure.
            queries: `[n]` rows of the queries.
            matches: Matches of these queries.
            ranking: Rules of the ranking.
        """
        device = queries.device
        self.similarity = similarity
        self.queries = queries
        self.k = ranking.k
        self.matches_first = ranking.matches_first
        self.most_held = ranking.sizes.held
        self.sizes = matches.sizes
        self.slack = (2.002 * similarity.tolerance[queries]).float()  # [n]
        self.unit = similarity.largest + 4 * float(similarity.tolerance.max()) or 1.0
        # Ascending keys: query by query, the closest match first.
        key, order = (4.0 * matches.row - matches.bound.double() / self.unit).sort()
        self.key = key  # [P]
        self.row, self.name = matches.row[order], matches.name[order]  # [P]
        self.start = matches.sizes.cumsum(0) - matches.sizes  # [n]
        self.bound = matches.bound[order]  # [P]
        self.best = self.bound[self.start]  # [n]
        self.last = self.bound[self.start + matches.sizes - 1]  # [n] the last one in reach
        self.width = int(matches.sizes.max())
        self.listed = max(self.width, self.k if self.k <= ranking.sizes.listed else 1)
        self.count = torch.zeros(len(queries), self.width + 1, dtype=torch.long, device=device)
        # The closest items so far, matches included: an item behind `listed` others does not
        # matter to any match that still counts.
        self.top = torch.full((len(queries), self.listed), -torch.inf, device=device)
        place = torch.arange(len(self.row), device=device) - self.start[self.row]  # [P]
        self.top[self.row, place] = self.bound
        self.kth = self.top[:, 0]  # [n] at least `listed` items are as close as this
        self.late = torch.zeros(len(queries), dtype=torch.bool, device=device)
        self.seen = 0
        self.refreshed = self.ranked = 0
        self.held: list[tuple[Tensor, Tensor, Tensor]] = []
        self.held_items = 0

    def take(self, scores: Tensor, names: Tensor) -> None:
        """Count the items of one tile.

        Args:
            scores: Float32 bound `[n, M]`, minus infinity for matches, for the query itself and
                for padding; contiguous, M a multiple of 32.
            names: Gallery indices of the items, `[M]`.
        """
        n, width = scores.shape
        group = _group(width, self.listed)
        blocks = scores.view(n, group, -1)  # [n, G, B]
        peak = blocks.amax(1)  # [n, B]
        self.seen += width
        refresh = self.seen >= 2 * self.refreshed
        if self.refreshed == 0 or (refresh and self.seen >= 8 * self.ranked):
            self.ranked = self.seen
            best = peak.topk(min(self.listed, peak.shape[1]), sorted=False).values
            best = torch.cat([self.top, best], 1)
            self.top = best.topk(self.listed, sorted=False).values  # [n, K]
            self.kth = self.top.amin(1)  # [n]
            self._set_level()
        hit_row, hit_block = torch.nonzero(peak >= self.level[:, None], as_tuple=True)  # [H]
        values = blocks[hit_row, :, hit_block]  # [H, G]
        hit, lane = torch.nonzero(values >= self.level[hit_row, None], as_tuple=True)  # [E]
        place = lane * peak.shape[1] + hit_block[hit]
        self.held.append((hit_row[hit], names[place], values[hit, lane]))
        self.held_items += len(hit)
        if self.k > self.listed:
            self._count_late(scores, names)
        if refresh or self.held_items > self.most_held:
            self.refreshed = self.seen
            self._release()
            # A match behind too many items is out of reach, and so are the matches after it.
            reach = self._within().sum(1).clamp(min=1)  # [n]
            self.last = self.bound[self.start + reach - 1]
            self._set_level()

    def _set_level(self) -> None:
        self.late = self.kth > self.best + 2 * self.slack
        level = torch.maximum(torch.minimum(self.kth, self.best), self.last) - self.slack
        self.level = level.masked_fill_(self.late, torch.inf)  # [n]

    def _within(self, more: Tensor | None = None) -> Tensor:
        """Return which matches rank among the first R given the counts, bool `[n, max R]`."""
        count = self.count if more is None else self.count + more
        rank = count[:, :-1].cumsum(1) + torch.arange(1, self.width + 1, device=count.device)
        return rank <= self.sizes[:, None]

    def finish(self) -> None:
        """Complete the counts after the last tile."""
        self._release()
        if self.k <= self.listed:
            self.count[:, 0].masked_fill_(self.late, self.listed)

    def _release(self) -> None:
        """Place the items kept back, except those below the thresholds."""
        if not self.held:
            return
        row, name, bound = (torch.cat(parts) for parts in zip(*self.held, strict=True))
        self.held, self.held_items = [], 0
        # Items closer than the best match of a late query stay: later ones are only counted.
        level = torch.where(self.late, self.best - self.slack, self.level)  # [n]
        keep = torch.nonzero(bound >= level[row]).flatten()
        self._place(row[keep], name[keep], bound[keep])

    def _count_late(self, scores: Tensor, names: Tensor) -> None:
        """Count the items closer than the best match of late queries, up to k."""
        rows = torch.nonzero(self.late & (self.count[:, 0] < self.k)).flatten()  # [r]
        if len(rows) == 0:
            return
        part = scores[rows]  # [r, M]
        best, slack = self.best[rows, None], self.slack[rows, None]  # [r, 1]
        high = _count(part > best + slack)  # [r]
        low = _count(part >= best - slack)  # [r]
        self.count[rows, 0] += high
        unsure = torch.nonzero(low > high).flatten()  # [u]
        if len(unsure) == 0:
            return
        part, best, slack = part[unsure], best[unsure], slack[unsure]
        row, place = torch.nonzero((part >= best - slack) & (part <= best + slack), as_tuple=True)
        self._place(rows[unsure[row]], names[place], part[row, place])

    def _place(self, row: Tensor, name: Tensor, bound: Tensor) -> None:
        """Count items `[E]` after the matches that precede them."""
        key = 4.0 * row - bound.double() / self.unit  # [E]
        slack = self.slack[row].double() / self.unit
        before = torch.searchsorted(self.key, key - slack)  # [E]
        # Undecided if the next match is within the error of the bound.
        following = self.key[before.clamp(max=len(self.key) - 1)]
        unsure = (before < len(self.key)) & (following <= key + slack)
        index = torch.nonzero(unsure).flatten()  # [U]
        cell = row * (self.width + 1) - self.start[row]  # [E]
        if len(index) > 0:
            until = torch.searchsorted(self.key, (key + slack)[index], right=True)  # [U]
            # Even with all undecided items as far behind as possible, some matches are out of
            # reach: items after those need no exact comparison.
            late = before.clone()
            late[index] = until
            more = torch.bincount(cell + late, minlength=self.count.numel()).view_as(self.count)
            reach = self._within(more).sum(1).clamp(min=1)  # [n]
            matters = before[index] - self.start[row[index]] < reach[row[index]]
            index, until = index[matters], until[matters]
        if len(index) > 0:
            before[index] = self._settle(row[index], name[index], before[index], until)
        self.count += torch.bincount(cell + before, minlength=self.count.numel()).view_as(
            self.count
        )

    def _settle(self, row: Tensor, name: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        """Return the place of items `[U]` among the pairs `begin` to `end` that the bound ties."""
        needed = torch.zeros(len(self.row) + 1, dtype=torch.long, device=row.device)
        needed.scatter_add_(0, begin, torch.ones_like(begin))
        needed.scatter_add_(0, end, -torch.ones_like(begin))
        pair = torch.nonzero(needed.cumsum(0)[:-1] > 0).flatten()  # [p]
        exact = torch.empty(len(self.row), dtype=torch.float64, device=row.device)
        exact[pair] = self.similarity.exact(self.queries[self.row[pair]], self.name[pair])
        value = self.similarity.exact(self.queries[row], name)  # [U]
        length = end - begin  # [U]
        out = begin.clone()
        step = max(1, 2**20 // int(length.max()))
        for i in range(0, len(row), step):
            part = slice(i, i + step)
            item = torch.repeat_interleave(length[part])  # [L]
            offset = torch.arange(len(item), device=row.device)
            offset -= (length[part].cumsum(0) - length[part])[item]
            match = begin[part][item] + offset  # [L]
            tie = exact[match] == value[part][item]
            if not self.matches_first:
                tie &= self.name[match] < name[part][item]
            wins = (exact[match] > value[part][item]) | tie
            out[part] += torch.bincount(item[wins], minlength=len(length[part]))
        return out


def _group(columns: int, k: int) -> int:
    """Return the columns per block, of whose maxima the k best are taken."""
    for group in (32, 16, 8, 4, 2):
        if columns // group >= 2 * k:
            return group
    return 1


def _count(mask: Tensor) -> Tensor:
    """Count True per row, `[n]`; the width is a multiple of 8, bytes are added in int64 words."""
    words = mask.view(torch.int64)  # [n, W]
    total = torch.zeros(len(mask), dtype=torch.long, device=mask.device)
    for start in range(0, words.shape[1], 255):  # a byte can hold 255
        sums = words[:, start : start + 255].sum(1, keepdim=True)  # [n, 1]
        total += sums.view(torch.uint8).sum(1)
    return total

"""Count, for some queries, what lies closer than their matches: no list is ever sorted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ibc_pyg.metrics.exact.similarity import Space

# Up to this k, what lies closer than a match is listed; above it, some is only counted.
_LISTED = 32
# Listed items that are held back, until the thresholds have risen, before they are placed.
_HELD = 2**21


@dataclass(frozen=True)
class Matches:
    """All (query, match) pairs of some queries.

    Attributes:
        row: [P] number of the query among them, ascending.
        name: [P] gallery index.
        screen: [P] float32 closeness.
        sizes: [n] number of matches of each query, at least 1.
    """

    row: Tensor
    name: Tensor
    screen: Tensor
    sizes: Tensor


class Tally:
    """Ranks of the matches of n queries, from tiles of closeness that are seen one by one.

    Items of other classes are placed between the matches: `count[i, p]` is the number of items
    that come after p of query i's matches. Only items that can matter are looked at: those closer
    than the worst match, and not behind as many others as there are matches. A query whose best
    match falls behind that many others is *late*: what matters then is how many come before it.

    Attributes:
        sizes: [n] number of matches.
        count: [n, max R + 1].
    """

    def __init__(
        self, space: Space, queries: Tensor, matches: Matches, *, k: int, matches_first: bool
    ) -> None:
        """Begin with nothing counted.

        Args:
            space: what exact closeness is asked from.
            queries: [n] their indices in the space.
            matches: of these queries.
            k: counts matter up to this number of items.
            matches_first: whether matches come before items as close as they, instead of the
                lower gallery index.

        """
        device = queries.device
        self.space = space
        self.queries = queries
        self.k = k
        self.matches_first = matches_first
        self.sizes = matches.sizes
        self.slack = (2.002 * space.tolerance[queries]).float()  # [n]
        self.unit = space.bound + 4 * float(space.tolerance.max()) or 1.0
        # Ascending keys: query by query, the closest match first.
        key, order = (4.0 * matches.row - matches.screen.double() / self.unit).sort()
        self.key = key  # [P]
        self.row, self.name = matches.row[order], matches.name[order]  # [P]
        self.start = matches.sizes.cumsum(0) - matches.sizes  # [n]
        self.screen = matches.screen[order]  # [P]
        self.best = self.screen[self.start]  # [n]
        self.last = self.screen[self.start + matches.sizes - 1]  # [n] the last one in reach
        self.width = int(matches.sizes.max())
        self.listed = max(self.width, k if k <= _LISTED else 1)
        self.count = torch.zeros(len(queries), self.width + 1, dtype=torch.long, device=device)
        # The closest items so far, matches among them: what ranks behind `listed` others does not
        # matter to any match that still counts.
        self.top = torch.full((len(queries), self.listed), -torch.inf, device=device)
        place = torch.arange(len(self.row), device=device) - self.start[self.row]  # [P]
        self.top[self.row, place] = self.screen
        self.kth = self.top[:, 0]  # [n] no fewer than `listed` items are as close as this
        self.late = torch.zeros(len(queries), dtype=torch.bool, device=device)
        self.seen = 0
        self.refreshed = self.ranked = 0
        self.held: list[tuple[Tensor, Tensor, Tensor]] = []
        self.held_items = 0

    def take(self, scores: Tensor, names: Tensor) -> None:
        """Count the items of one tile.

        Args:
            scores: [n, M] float32 closeness by the screen, minus infinity for matches, for the
                query itself and for padding; contiguous, M a multiple of 32.
            names: [M] the items' gallery indices.

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
        if refresh or self.held_items > _HELD:
            self.refreshed = self.seen
            self._release()
            # A match with too many before it is out of reach, and so is what comes after it.
            reach = self._within().sum(1).clamp(min=1)  # [n]
            self.last = self.screen[self.start + reach - 1]
            self._set_level()

    def _set_level(self) -> None:
        self.late = self.kth > self.best + 2 * self.slack
        level = torch.maximum(torch.minimum(self.kth, self.best), self.last) - self.slack
        self.level = level.masked_fill_(self.late, torch.inf)  # [n]

    def _within(self, more: Tensor | None = None) -> Tensor:
        """Find the matches that rank among the first R after what is counted, bool [n, max R]."""
        count = self.count if more is None else self.count + more
        rank = count[:, :-1].cumsum(1) + torch.arange(1, self.width + 1, device=count.device)
        return rank <= self.sizes[:, None]

    def finish(self) -> None:
        """Complete the counts after the last tile."""
        self._release()
        if self.k <= self.listed:
            self.count[:, 0].masked_fill_(self.late, self.listed)

    def _release(self) -> None:
        """Place the items held back, but for those that no longer matter."""
        if not self.held:
            return
        row, name, screen = (torch.cat(parts) for parts in zip(*self.held, strict=True))
        self.held, self.held_items = [], 0
        # A late query's items up to its best match stay: after it is late they are only counted.
        level = torch.where(self.late, self.best - self.slack, self.level)  # [n]
        keep = torch.nonzero(screen >= level[row]).flatten()
        self._place(row[keep], name[keep], screen[keep])

    def _count_late(self, scores: Tensor, names: Tensor) -> None:
        """Count what lies closer than the best match of late queries, until it is enough."""
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

    def _place(self, row: Tensor, name: Tensor, screen: Tensor) -> None:
        """Count items [E] after the matches that come before them."""
        key = 4.0 * row - screen.double() / self.unit  # [E]
        slack = self.slack[row].double() / self.unit
        before = torch.searchsorted(self.key, key - slack)  # [E]
        # Unsure if the next match is no farther behind than the screen can be wrong.
        following = self.key[before.clamp(max=len(self.key) - 1)]
        unsure = (before < len(self.key)) & (following <= key + slack)
        index = torch.nonzero(unsure).flatten()  # [U]
        cell = row * (self.width + 1) - self.start[row]  # [E]
        if len(index) > 0:
            until = torch.searchsorted(self.key, (key + slack)[index], right=True)  # [U]
            # Even with all unsure items as far behind as can be, some matches are out of reach:
            # what comes after those need not be settled.
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
        """Find the place of items [U] among the pairs `begin` to `end` that the screen ties."""
        needed = torch.zeros(len(self.row) + 1, dtype=torch.long, device=row.device)
        needed.scatter_add_(0, begin, torch.ones_like(begin))
        needed.scatter_add_(0, end, -torch.ones_like(begin))
        pair = torch.nonzero(needed.cumsum(0)[:-1] > 0).flatten()  # [p]
        exact = torch.empty(len(self.row), dtype=torch.float64, device=row.device)
        exact[pair] = self.space.exact(self.queries[self.row[pair]], self.name[pair])
        value = self.space.exact(self.queries[row], name)  # [U]
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
    """Columns per block: the blocks' maxima stand in for all columns in finding the k best."""
    for group in (32, 16, 8, 4, 2):
        if columns // group >= 2 * k:
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

"""Progress, tables and lines on the `rich` console that the caller passes in.

A terminal gets bars and ruled tables, a file or a pipe plain lines. rich respects `NO_COLOR`
(https://no-color.org).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from ibc_pyg.errors import printable

Cell = float | int | str | None
"""A cell of a table; None is shown as a dash."""

LINES = 20
LINE_SECONDS = 10.0
MOST_TIMED_LINES = 200


class Progress:
    """A bar with loss, images/s and remaining time; plain lines without a terminal.

    A plain line is printed for the first step, for every twentieth of the work, after every 10 s
    (in long runs: a two-hundredth of the expected time), and for the last step.

    Args:
        total: Number of steps of the whole work.
        description: A word before the bar.
        console: Console to draw on.
        start: Steps done by an earlier run; the remaining time is estimated from there.
        clock: Returns seconds; only differences matter.

    Raises:
        ValueError: If `total` is negative, or `start` is outside `[0, total]`.
    """

    def __init__(
        self,
        total: int,
        description: str = "train",
        *,
        console: Console,
        start: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total < 0:
            raise ValueError(f"total must not be negative, got {total}")
        if not 0 <= start <= total:
            raise ValueError(f"start must be in [0, {total}], got {start}")
        self.total = total
        self.description = printable(description)
        self.start = start
        self.console = console
        self._clock = clock
        self._began = self._line_at = clock()
        self._line_step: int | None = None
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=console,
            expand=True,
            disable=not console.is_interactive,
        )
        self._task = self._bar.add_task(self.description, total=total, completed=start, facts="")

    def __enter__(self) -> Progress:
        """Start the bar."""
        self._began = self._line_at = self._clock()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last state of the bar on the screen."""
        if not self._bar.disable:
            self._bar.stop()

    def update(
        self, step: int, *, loss: float | None = None, images_per_second: float | None = None
    ) -> None:
        """Show the progress.

        Args:
            step: Number of steps done, counted from the beginning of the work.
            loss: Loss to show.
            images_per_second: Throughput to show.
        """
        facts = []
        if loss is not None:
            facts.append(f"loss {loss:.4f}")
        if images_per_second is not None:
            facts.append(f"{images_per_second:,.0f} images/s")
        spent, done = self._clock() - self._began, step - self.start
        left = spent / done * (self.total - step) if done > 0 else None
        if left is not None:
            facts.append(f"{duration(left)} left")
        self._bar.update(self._task, completed=step, facts="  ".join(facts))
        if self._bar.disable and self._line_due(step, spent + (left or 0.0)):
            self._line_step, self._line_at = step, self._began + spent
            head = f"{self.description} {step:>{len(f'{self.total:,}')},}/{self.total:,}"
            info(self.console, "  ".join([head, *facts]))

    def _line_due(self, step: int, expected: float) -> bool:
        if step == self._line_step:
            return False
        if self._line_step is None or step >= self.total:
            return True
        if step * LINES // self.total > self._line_step * LINES // self.total:
            return True
        return self._clock() - self._line_at >= max(LINE_SECONDS, expected / MOST_TIMED_LINES)


def table(
    rows: Sequence[Mapping[str, Cell]],
    *,
    console: Console,
    title: str | None = None,
    decimals: int = 4,
) -> None:
    """Print a table: ruled in a terminal, aligned with spaces elsewhere.

    Args:
        rows: Column name to cell; the columns are the names in order of their first appearance,
            and a row may lack some. Columns of numbers are aligned to the right.
        console: Console to print on.
        title: A line above.
        decimals: Decimals of a float.
    """
    title = None if title is None else printable(title)
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = [all(not isinstance(row.get(name), str) for row in rows) for name in names]
    heads = [printable(name) for name in names]
    cells = [[_cell(row.get(name), decimals) for name in names] for row in rows]
    if console.is_terminal:
        drawn = Table(title=None if title is None else Text(title), title_justify="left")
        for head, right in zip(heads, numeric, strict=True):
            drawn.add_column(Text(head), justify="right" if right else "left")
        for line in cells:
            drawn.add_row(*map(Text, line))
        console.print(drawn)
        return
    # rich would truncate a table at the width that it assumes for a pipe.
    if title is not None:
        info(console, title)
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for line in [heads, *cells] if heads else []:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        info(console, "  ".join(padded).rstrip())


def info(console: Console, message: str) -> None:
    """Print a line without markup; what a terminal would act on is escaped."""
    # A line of a log must not be broken at the width that rich assumes for a pipe.
    wide = console.soft_wrap or not console.is_terminal
    console.print(Text(printable(message)), soft_wrap=wide, highlight=False)


def duration(seconds: float) -> str:
    """Return seconds as `m:ss` or `h:mm:ss`.

    >>> duration(75), duration(3_600)
    ('1:15', '1:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _cell(value: Cell, decimals: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else printable(str(value))

"""What a person sees while a command runs: progress, tables and lines.

Everything goes to the `rich` console that the caller passes in: bars and colours in a terminal,
plain lines in a file or a pipe. `NO_COLOR` (https://no-color.org) is respected by rich.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

Cell = float | int | str | None
"""A cell of a table; None is shown as a dash."""

LINES = 20
LINE_SECONDS = 10.0
MOST_TIMED_LINES = 200


class Progress:
    """A bar with loss, images/s and time left; plain lines where there is no terminal.

    A plain line comes with the first step, with every twentieth of the work, after every 10 s
    (more in long runs: a two-hundredth of the expected time), and with the last step.

    Args:
        total: Number of steps of the whole work.
        description: A word before the bar.
        console: Where it is drawn.
        start: Steps that an earlier run has done; the time left counts from there.
        clock: Gives seconds; only differences matter.

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
        self.description = description
        self.start = start
        self.console = console
        self._clock = clock
        self._began = self._line_at = clock()
        self._line_step: int | None = None
        self._bar = _rich_bar(console) if console.is_interactive else None

    def __enter__(self) -> Progress:
        """Start the bar."""
        self._began = self._line_at = self._clock()
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self.description, total=self.total, completed=self.start, facts=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state of the bar on the screen."""
        if self._bar is not None:
            self._bar.stop()

    def update(
        self, step: int, *, loss: float | None = None, images_per_second: float | None = None
    ) -> None:
        """Show how far the work is.

        Args:
            step: Number of steps done, counted from the beginning of the work.
            loss: The loss to show.
            images_per_second: The throughput to show.
        """
        facts = []
        if loss is not None:
            facts.append(f"loss {loss:.4f}")
        if images_per_second is not None:
            facts.append(f"{images_per_second:,.0f} images/s")
        now = self._clock()
        left = self._left(step, now)
        if left is not None:
            facts.append(f"{duration(left)} left")
        if self._bar is not None:
            self._bar.update(self._task, completed=step, facts="  ".join(facts))
        elif self._line_due(step, now, left):
            self._line_step, self._line_at = step, now
            head = f"{self.description} {step:>{len(f'{self.total:,}')},}/{self.total:,}"
            _print(self.console, Text("  ".join([head, *facts])))

    def _left(self, step: int, now: float) -> float | None:
        done = step - self.start
        return (now - self._began) / done * (self.total - step) if done > 0 else None

    def _line_due(self, step: int, now: float, left: float | None) -> bool:
        if step == self._line_step:
            return False
        if self._line_step is None or step >= self.total:
            return True
        if step * LINES // self.total > self._line_step * LINES // self.total:
            return True
        expected = now - self._began + (left or 0.0)
        return now - self._line_at >= max(LINE_SECONDS, expected / MOST_TIMED_LINES)


def progress(
    total: int, description: str = "train", *, console: Console, start: int = 0
) -> Progress:
    """Return a `Progress` for a `with` statement; see there."""
    return Progress(total, description, console=console, start=start)


def table(
    rows: Sequence[Mapping[str, Cell]],
    *,
    console: Console,
    title: str | None = None,
    decimals: int = 4,
) -> None:
    """Print a table: ruled in a terminal, aligned with blanks elsewhere.

    Args:
        rows: Column name to cell; the columns are the names in order of their first appearance,
            and a row may lack some. Columns of numbers are aligned to the right.
        console: Where it is printed.
        title: A line above.
        decimals: Digits after the point of a float.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name: all(not isinstance(row.get(name), str) for row in rows) for name in names}
    cells = [[_cell(row.get(name), decimals) for name in names] for row in rows]
    if console.is_terminal:
        drawn = Table(title=None if title is None else Text(title), title_justify="left")
        for name in names:
            drawn.add_column(Text(name), justify="right" if numeric[name] else "left")
        for line in cells:
            drawn.add_row(*(Text(cell) for cell in line))
        console.print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    if title is not None:
        _print(console, Text(title))
    for line in [names, *cells] if names else []:
        padded = (
            cell.rjust(width) if numeric[name] else cell.ljust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        )
        _print(console, Text("  ".join(padded).rstrip()))


def info(console: Console, message: str) -> None:
    """Print a line as it is."""
    _print(console, Text(message))


def duration(seconds: float) -> str:
    """Return seconds as `m:ss` or `h:mm:ss`.

    >>> duration(75), duration(3_600)
    ('1:15', '1:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _StepColumn(ProgressColumn):
    """Steps done and steps in all, with separators of thousands."""

    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed):,}/{int(task.total or 0):,}", style="progress.download")


def _rich_bar(console: Console) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        _StepColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=console,
        expand=True,
    )


def _cell(value: Cell, decimals: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


def _print(console: Console, text: Text) -> None:
    # A line of a log must not be broken at the width that rich guesses for a pipe.
    console.print(text, soft_wrap=not console.is_terminal, highlight=False)

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from ibc_pyg import console as ui


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain() -> Console:
    return Console(file=io.StringIO(), width=40)


def terminal(**options) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=100, **options
    )


def text(console: Console) -> str:
    return console.file.getvalue()


def run(console: Console, total: int, seconds: float, start: int = 0) -> list[str]:
    clock = Clock()
    with ui.Progress(total, console=console, start=start, clock=clock) as bar:
        for step in range(start + 1, total + 1):
            clock.now += seconds
            bar.update(step, loss=1 / step, images_per_second=96 / seconds)
    return text(console).splitlines()


def test_plain_lines_show_step_loss_speed_and_time_left():
    lines = run(plain(), total=1000, seconds=0.1)
    assert lines[0] == "train     1/1,000  loss 1.0000  960 images/s  1:40 left"
    assert lines[-1] == "train 1,000/1,000  loss 0.0010  960 images/s  0:00 left"
    steps = [int(re.search(r"([\d,]+)/", line)[1].replace(",", "")) for line in lines]
    assert steps == [1, *range(50, 1001, 50)]


def test_plain_lines_come_every_ten_seconds_when_steps_are_slow():
    assert len(run(plain(), total=100, seconds=10.0)) == 100
    assert len(run(plain(), total=100, seconds=3.0)) == pytest.approx(20 + 100 * 3 / 10, abs=12)


def test_a_long_run_does_not_fill_the_log():
    # 100,000 steps of one second: more than a day.
    assert len(run(plain(), total=100_000, seconds=1.0)) < 1 + 20 + 2 * ui.MOST_TIMED_LINES


def test_time_left_counts_from_the_start_of_a_resumed_run():
    lines = run(plain(), total=100, seconds=1.0, start=60)
    assert lines[0].startswith("train  61/100")
    assert lines[0].endswith("0:39 left")


def test_a_step_is_shown_once_and_values_are_optional():
    console = plain()
    with ui.Progress(2, "index", console=console) as bar:
        bar.update(0)
        bar.update(2)
        bar.update(2)
    assert text(console).splitlines() == ["index 0/2", "index 2/2  0:00 left"]


def test_terminal_gets_a_bar():
    console = terminal()
    run(console, total=50, seconds=0.5)
    assert "━" in text(console)
    assert "50/50" in text(console)
    assert "loss 0.0200  192 images/s  0:00 left" in text(console)


def test_lines_printed_during_the_bar_survive():
    console = terminal()
    with ui.Progress(2, console=console) as bar:
        bar.update(1)
        ui.info(console, "W&B continues offline")
    assert "W&B continues offline" in text(console)


@pytest.mark.parametrize(("total", "start"), [(-1, 0), (5, 6), (5, -1)])
def test_impossible_totals_are_refused(total, start):
    with pytest.raises(ValueError, match="must"):
        ui.Progress(total, console=plain(), start=start)


ROWS = [
    {"model": "message passing [1]", "R@1": 0.73, "seeds": 3},
    {"model": "raw pixels", "R@1": 0.2341, "note": "floor"},
]


def test_plain_table_is_aligned_and_unbroken():
    console = plain()
    ui.table(ROWS, console=console, title="Glyphs")
    assert text(console).splitlines() == [
        "Glyphs",
        "model                   R@1  seeds  note",
        "message passing [1]  0.7300      3  -",
        "raw pixels           0.2341      -  floor",
    ]


def test_terminal_table_has_rules_and_the_same_cells():
    console = terminal()
    ui.table(ROWS, console=console, title="Glyphs", decimals=2)
    for word in ("━", "Glyphs", "message passing [1]", "0.73", "0.23", "floor"):
        assert word in text(console)


def test_empty_table_prints_nothing_but_its_title():
    console = plain()
    ui.table([], console=console)
    assert text(console) == ""


def test_lines_are_never_read_as_markup():
    console = plain()
    message = "data.root: [bold]no such folder[/bold] " + "x" * 60
    ui.info(console, message)
    assert text(console).splitlines() == [message]


def test_no_color_is_respected(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = terminal(color_system="standard")
    ui.table(ROWS, console=coloured)
    with ui.Progress(2, console=coloured) as bar:
        bar.update(2, loss=1.0)
    monkeypatch.setenv("NO_COLOR", "1")
    bare = terminal(color_system="standard")
    ui.table(ROWS, console=bare)
    with ui.Progress(2, console=bare) as bar:
        bar.update(2, loss=1.0)
    colours = re.compile(r"\x1b\[[\d;]*(?:3|9)\d[\d;]*m")
    assert colours.search(text(coloured))
    assert not colours.search(text(bare))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (36_000, "10:00:00")]
)
def test_duration(seconds, expected):
    assert ui.duration(seconds) == expected


@pytest.mark.parametrize("make", [plain, terminal])
def test_escape_sequences_and_marks_of_direction_do_not_reach_the_terminal(make):
    name = "a\x1b]0;title\x07\u202eb\udce9\r"
    console = make()
    ui.info(console, name)
    ui.table([{name: name, "R@1": 0.5}], console=console, title=name)
    with ui.Progress(1, name, console=console) as bar:
        bar.update(1)
    shown = text(console)
    assert not set("\x07\u202e\udce9") & set(shown)
    assert "\x1b]" not in shown
    assert shown.count(r"a\x1b]0;title\x07\u202eb\udce9\r") >= 4


def test_names_are_not_replaced_by_emoji():
    console = plain()
    ui.info(console, "class :smile: [red]")
    assert text(console) == "class :smile: [red]\n"


def test_everything_is_printed_by_this_module():
    """Other modules would have to escape names themselves."""
    package = Path(ui.__file__).parent
    for file in package.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(file.read_text()))
                 if isinstance(node, ast.Call)]  # fmt: skip
        names = {getattr(each, "attr", getattr(each, "id", "")) for each in calls}
        assert file == Path(ui.__file__) or "print" not in names, file

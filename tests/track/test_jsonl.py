from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibc_pyg.errors import RunError
from ibc_pyg.track import JsonlTracker, MultiTracker, read_jsonl


def strict(line: str) -> dict[str, float | None]:
    """Parse JSON as RFC 8259 has it, without Python's NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_one_valid_line_a_record_at_once(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    times = iter([10.0, 11.25])
    tracker = JsonlTracker(path, clock=lambda: next(times))
    tracker.log(1, {"loss": 0.5, "lr": 1e-3})
    assert strict(path.read_text()) == {"step": 1, "time": 10.0, "loss": 0.5, "lr": 1e-3}
    tracker.log(2, {"loss": torch.tensor(0.25)})  # type: ignore[dict-item]
    assert strict(path.read_text().splitlines()[1]) == {"step": 2, "time": 11.25, "loss": 0.25}
    tracker.close()


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats()), max_size=8))
def test_any_float_comes_back_or_is_none(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("any") / "m.jsonl"
    tracker = JsonlTracker(path)
    for step, value in records:
        tracker.log(step, {"größe @1": value})
    tracker.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(records)
    for line, (step, value) in zip(lines, records, strict=True):
        expected = value if math.isfinite(value) else None
        assert strict(line)["step"] == step
        assert strict(line)["größe @1"] == expected
    assert read_jsonl(path) == [strict(line) for line in lines]


def test_an_existing_file_is_continued(tmp_path):
    path = tmp_path / "m.jsonl"
    for step in (1, 2):
        tracker = JsonlTracker(path)
        tracker.log(step, {})
        tracker.close()
    assert [record["step"] for record in read_jsonl(path)] == [1, 2]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "time": 0, "loss": 1.0}\n{"step": 2, "ti')
    assert [record["step"] for record in read_jsonl(path)] == [1]
    tracker = JsonlTracker(path)
    tracker.log(2, {"loss": 0.5})
    tracker.close()
    assert [record.get("loss") for record in read_jsonl(path)] == [1.0, 0.5]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_the_run(tmp_path):
    tracker = JsonlTracker(tmp_path / "m.jsonl")
    tracker.close()
    tracker.path = Path("/dev/full")
    tracker._file = tracker._open()
    with pytest.raises(RunError, match=r"/dev/full cannot be written: No space left"):
        MultiTracker([tracker]).log(1, {"loss": 1.0})


@pytest.mark.parametrize("line", ["{broken}", "[1]", '{"time": 0}', '{"step": "one"}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n' + line + '\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"m\.jsonl, line 2"):
        read_jsonl(path)


def test_errors_name_the_file_and_the_value(tmp_path):
    with pytest.raises(RunError, match=r"missing\.jsonl: cannot read the metrics"):
        read_jsonl(tmp_path / "missing.jsonl")
    with pytest.raises(RunError, match="cannot write the metrics"):
        JsonlTracker(tmp_path)
    tracker = JsonlTracker(tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match="'time'"):
        tracker.log(1, {"time": 3.0})
    tracker.close()
    with pytest.raises(ValueError, match="closed"):
        tracker.log(1, {})


def test_a_link_is_neither_cut_nor_appended_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "metrics.jsonl"
    target.write_text('{"step": 1}\nhalf a line')
    link.symlink_to(target)
    with pytest.raises(RunError, match=r"metrics\.jsonl is a link, and is not written through"):
        JsonlTracker(link)
    assert target.read_text() == '{"step": 1}\nhalf a line'
    assert link.is_symlink()

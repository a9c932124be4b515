"""Damage to valid files, and the property that every reader has: a result or a named error.

`IBC_PYG_FUZZ_MINUTES` is the time of the whole suite; each reader then gets its share, with new
random seeds until it is over. Without it, each gets a fixed number of the same examples.
"""

import os
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st

from ibc_pyg.errors import UserError

MINUTES = float(os.environ.get("IBC_PYG_FUZZ_MINUTES", "0"))
READERS = 45
"""About the number of readers that share the time."""
HANGS_S = 120
MAX_GROWTH = 2**30
"""Most bytes by which the process grows while damaged files of some kilobytes are read."""

SPECIAL = [
    *(b"", b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b",", b";", b'"', b"'", b"/", b"..", b"~"),
    *(b"../../x", b"-1", b"0", b"1e3", b"1e999", b"NaN", b".inf", b"null", b"true", b"2024-13-45"),
    *(b"99999999999999999999", b"9" * 5000, b"0x" + b"f" * 200, b"\xff\xfe", b"\xed\xa0\x80"),
    *(b"[" * 2000, b"{" * 200, b'{"a":' * 1500, b"&a [*a]", b"*a", b"<<: *a", b"!!timestamp x"),
    *(b"!!python/object:os.system {}", b"!!binary x", b"!!bool x", b"!!int ''", b"{a: 1, a: 2}"),
    *(b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"PK\x05\x06", b"|\n"),
    *("\u2028".encode(), "\u0661".encode(), "ﬁ".encode(), b"\x1b[31m", b"%s{0}", b"a" * 300),
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "cut", "swap", "repeat", "flip", "splice", "end"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.sampled_from(SPECIAL) | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)
Edits = list[tuple[str, float, float, bytes]]


def damage(data: bytes, edits: Edits) -> bytes:
    """Return data with pieces put in, cut out, repeated, inverted or moved."""
    for kind, where, far, piece in edits:
        start = int(where * len(data))
        stop = min(len(data), start + int(far * 40))
        other = int(far * len(data))
        middle = {
            "put": piece + data[start:stop],
            "cut": b"",
            "swap": piece,
            "repeat": data[start:stop] * 3,
            "flip": bytes(byte ^ (1 + int(far * 254)) for byte in data[start:stop]),
            "splice": data[other : other + 40],
            "end": b"",
        }[kind]
        data = data[:start] + middle + (b"" if kind == "end" else data[stop:])
    return data


def fuzz(
    check: Callable[[Any], None],
    strategy: st.SearchStrategy[Any],
    *,
    examples: int,
    known: tuple[Any, ...] = (),
) -> None:
    """Run a check over examples, or for this reader's share of the time.

    Args:
        check: Raises if the property does not hold.
        strategy: Its inputs.
        examples: Number of examples without a time.
        known: Inputs that failed once.
    """

    def run(drawn: Any) -> None:
        with _ends():
            check(drawn)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end = time.monotonic() + MINUTES * 60 / READERS
    while True:
        test = given(strategy)(run)
        for each in known:
            test = example(each)(test)
        if MINUTES:
            test = seed(time.time_ns())(test)
        settings(
            max_examples=examples,
            derandomize=not MINUTES,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),  # shrinking a slow reader takes minutes
            database=None,
            suppress_health_check=list(HealthCheck),
        )(test)()
        if time.monotonic() >= end:
            break
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert growth < MAX_GROWTH, f"the process grew by {growth:,} bytes"


def fuzz_file(
    read: Callable[[Path], object],
    file: Path,
    *,
    examples: int,
    allowed: tuple[type[BaseException], ...] = (UserError,),
    known: tuple[Edits, ...] = (),
) -> None:
    """Check that a reader of a damaged file returns, or raises a documented error of one line.

    The file must lie alone in its folder or with others of its set; nothing outside of that folder
    may change.
    """
    good = file.read_bytes()
    outside = _snapshot(file.parents[1], file.parent)

    def check(edits: Edits) -> None:
        file.write_bytes(damage(good, edits))
        problem = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(file)
        except allowed as error:
            problem = str(error)
        check_message(problem)

    read(file)
    fuzz(check, EDITS, examples=examples, known=known)
    assert _snapshot(file.parents[1], file.parent) == outside


def check_message(problem: str | None) -> None:
    """Check that the message of an error is one line of bounded length."""
    if problem is not None:
        assert problem
        assert "\n" not in problem, problem
        assert len(problem) < 5000


def _snapshot(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path != without and not path.is_relative_to(without):
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


@contextmanager
def _ends() -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"no end after {HANGS_S} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

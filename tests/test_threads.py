"""Pieces of tensor work on threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from ibc_pyg.threads import call_in_one_thread, map_in_threads
from tests.helpers.torch_threads import torch_threads

CPU = torch.device("cpu")


@pytest.fixture
def three_threads() -> Iterator[None]:
    with torch_threads(3):
        yield


@pytest.mark.usefixtures("three_threads")
def test_results_come_in_the_order_of_the_items() -> None:
    turn = threading.Event()

    def second_first(number: int) -> int:
        if number == 0:
            assert turn.wait(10)  # finishes after item 1, which needs a thread of its own
        turn.set()
        return number

    assert list(map_in_threads(second_first, range(20), CPU)) == list(range(20))


@pytest.mark.usefixtures("three_threads")
def test_a_piece_has_one_thread_and_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)

    def look(_: int) -> tuple[int, bool, bool]:
        own = threading.current_thread() is threading.main_thread()
        return torch.get_num_threads(), (weight * 2).requires_grad, own

    assert set(map_in_threads(look, range(6), CPU)) == {(1, False, False)}
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("three_threads")
def test_one_thread_for_a_call() -> None:
    assert call_in_one_thread(torch.get_num_threads) == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError):
        call_in_one_thread(lambda: 1 // 0)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("items", "device"), [(1, "cpu"), (4, "meta")])
def test_a_single_piece_and_other_devices_stay_in_the_callers_thread(
    items: int, device: str
) -> None:
    seen = set(
        map_in_threads(
            lambda _: (threading.current_thread(), torch.is_grad_enabled()),
            range(items),
            torch.device(device),
        )
    )
    assert seen == {(threading.current_thread(), False)}
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("three_threads")
def test_an_error_reaches_the_caller_and_stops_the_work() -> None:
    done: list[int] = []

    def fail(number: int) -> None:
        if number == 5:
            raise ValueError("piece 5")
        done.append(number)

    with pytest.raises(ValueError, match="piece 5"):
        list(map_in_threads(fail, range(1000), CPU))
    assert len(done) < 50


@pytest.mark.usefixtures("three_threads")
def test_items_are_taken_as_results_are() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_threads(lambda number: number, items(), CPU)
    for number in range(10):
        assert next(results) == number
    assert len(taken) <= 10 + 2 * 3
    results.close()

"""Results in order, a bounded number of them ahead of the consumer."""

import threading
import time

import pytest

from ibc_pyg.data.images.ahead import map_ahead


def test_results_are_in_the_order_of_the_items_and_bounded_ahead():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    def slow_at_first(number):
        time.sleep(0.02 if number % 7 == 0 else 0)
        return number * number

    found = []
    for result in map_ahead(slow_at_first, items(), threads=4, ahead=6):
        found.append(result)
        assert len(taken) <= len(found) + 6
    assert found == [number * number for number in range(50)]


def test_items_are_taken_in_the_thread_of_the_consumer_and_calls_are_not():
    threads = {"items": set(), "calls": set()}

    def items():
        for number in range(5):
            threads["items"].add(threading.get_ident())
            yield number

    def call(number):
        threads["calls"].add(threading.get_ident())
        return number

    assert list(map_ahead(call, items(), threads=2, ahead=3)) == [0, 1, 2, 3, 4]
    assert threads["items"] == {threading.get_ident()}
    assert threading.get_ident() not in threads["calls"]


def test_errors_of_items_and_of_calls_arrive_at_their_place():
    def items():
        yield 1
        yield 0
        raise KeyError("items")

    found = map_ahead(lambda number: 1 / number, items(), threads=2, ahead=1)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    found = map_ahead(lambda number: number, items(), threads=2, ahead=1)
    assert [next(found), next(found)] == [1, 0]
    with pytest.raises(KeyError, match="items"):
        next(found)


def test_nothing_gives_nothing():
    assert list(map_ahead(str, [], threads=1, ahead=1)) == []


def test_a_consumer_that_leaves_ends_the_calls():
    calls = []
    found = map_ahead(calls.append, range(1000), threads=1, ahead=4)
    next(found)
    found.close()
    assert len(calls) <= 6

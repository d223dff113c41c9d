"""Errands: items of any kind, which a worker of their own brings to one function as they are."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from otel_dbevents.bus.errands import Errands
from otel_dbevents.events import QueryExecuted

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

ITEMS: list[Any] = ["a word", 7, None, (), ("a", "pair"), ["a list"], QueryExecuted]


def test_items_of_any_kind_come_as_they_were_put_in() -> None:
    came: list[Any] = []
    errands: Errands[Any] = Errands(came.extend, name="test", capacity=10)
    for item in ITEMS:
        errands.put(item)
    assert errands.settle(60)
    errands.close()
    assert came == ITEMS
    assert errands.lost == {}


@pytest.mark.swallows
def test_a_batch_that_fails_is_counted_item_by_item_and_the_next_is_done() -> None:
    go, is_held, came = threading.Event(), threading.Event(), list[Any]()

    def run(batch: Sequence[Any]) -> None:
        is_held.set()
        go.wait(60)
        if batch[0] == ITEMS[0]:
            raise RuntimeError("of whoever runs errands")
        came.extend(batch)

    errands: Errands[Any] = Errands(run, name="test", capacity=10)
    errands.put("held")
    assert is_held.wait(60)
    for item in ITEMS:
        errands.put(item)
    go.set()
    assert errands.settle(60)
    errands.put("next")
    assert errands.settle(60)
    errands.close()
    assert errands.lost == {"handler_error": len(ITEMS)}
    assert came == ["held", "next"]


def test_the_oldest_gives_way_and_each_is_counted_as_one() -> None:
    go, is_held, came = threading.Event(), threading.Event(), list[Any]()

    def run(batch: Sequence[Any]) -> None:
        is_held.set()
        go.wait(60)
        came.extend(batch)

    errands: Errands[Any] = Errands(run, name="test", capacity=2)
    errands.put("held")
    assert is_held.wait(60)
    for item in ITEMS:
        errands.put(item)
    go.set()
    assert errands.settle(60)
    errands.close()
    assert came == ["held", *ITEMS[-2:]]
    assert errands.lost == {"queue_full": len(ITEMS) - 2}


def test_after_the_close_nothing_is_taken() -> None:
    came: list[Any] = []
    errands: Errands[Any] = Errands(came.extend, name="test", capacity=2)
    errands.put("before")
    errands.close()
    errands.put("after")
    assert errands.settle(60)
    assert came == ["before"]

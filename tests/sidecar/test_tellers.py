"""Whose numbers are whose: each process's are a source of their own, and its losses are told."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.held import Held
from otel_dbevents.events import QueryExecuted, TraceParent
from otel_dbevents.shipping import Origin
from otel_dbevents.sidecar import tellers as tellers_module
from otel_dbevents.sidecar.tellers import Tellers
from tests.bus.contract import checked
from tests.sidecar.running import DATABASE, STATEMENT

SOURCE = msgspec.msgpack.encode(
    Origin({"service.name": "shop", "service.instance.id": "pod"}, metrics=True)
)


def entry(epoch: str, first: int = 0, count: int = 1) -> Entry:
    return Entry("app", epoch, first, count, 1, SOURCE, b"")


def tell(tellers: Tellers, *epochs: str) -> None:
    for each in epochs:
        assert tellers.tell([Held(b"1-1", entry(each), [checked(1)])]) == []


def told(tellers: Tellers) -> Mapping[str, dict[str, int]]:
    """Return the losses that are told, by instance and reason."""
    found: dict[str, dict[str, int]] = {}
    for each in tellers.collect().metrics:
        points: list[Any] = [
            point
            for scope in each.scope_metrics
            for metric in scope.metrics
            if metric.name == "dbevents.events.lost"
            for point in metric.data.data_points
        ]
        instance = each.resource.attributes["service.instance.id"]
        assert instance not in found  # one source would have two numbers
        found[instance] = {p.attributes["dbevents.lost.reason"]: p.value for p in points}
    return found


@pytest.fixture
def tellers() -> Any:
    made = Tellers("here", (None, None), None)
    yield made
    made.close()


def test_processes_that_say_to_be_one_instance_are_sources_of_their_own(tellers: Tellers) -> None:
    tell(tellers, "1-a", "1-b", "1-c")  # a parent and its forked children
    assert list(told(tellers)) == ["pod@here", "pod-2@here", "pod-3@here"]
    tell(tellers, "1-a")
    assert list(told(tellers)) == ["pod@here"]  # as before


def test_a_name_is_free_again_when_its_process_has_ended(tellers: Tellers) -> None:
    tell(tellers, "1-a")
    tellers.tell([Held(b"1-2", entry("1-a", 1, 0), [])])
    tellers.collect()
    tellers.forget_ended()
    tell(tellers, "2-a")  # the same pod, begun again
    assert list(told(tellers)) == ["pod@here"]


def test_what_a_process_lost_is_told_though_nothing_of_it_could_be(tellers: Tellers) -> None:
    tellers.lose_of(entry("1-a"), {"rejected": 3})
    assert told(tellers) == {"pod@here": {"rejected": 3}}


def test_what_a_process_lost_is_told_though_its_teller_is_gone(
    tellers: Tellers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(tellers, "1-a")
    tellers.begin_anew()
    tellers.lose("app:1-a", {"gap": 2})
    assert told(tellers) == {"pod@here-1": {"gap": 2}}
    monkeypatch.setattr(tellers_module, "_MOST", 1)
    tellers.lose("app:1-a", {"gap": 3})
    tell(tellers, "1-b", "1-c")
    tellers.forget_ended()  # beyond so many, what has nothing to say goes first
    assert told(tellers)["pod@here-1"] == {"gap": 5}
    tellers.forget_ended()
    assert len(tellers._all) == 1


@pytest.mark.parametrize(("follows", "flags", "spans"), [(True, 1, 1), (True, 0, 0), (False, 1, 0)])
def test_a_child_is_sampled_as_its_parent_where_its_application_does_so(
    tellers: Tellers, follows: bool, flags: int, spans: int
) -> None:
    origin = Origin({}, root_sampled=0.0, follows_parent=follows)
    made = Entry("app", "1", 0, 1, 1, msgspec.msgpack.encode(origin), b"")
    parent = TraceParent(b"1" * 16, b"1" * 8, flags)
    query = QueryExecuted(DATABASE, parent, time.time_ns(), 1_000, STATEMENT)
    assert tellers.tell([Held(b"1-1", made, [query])]) == []
    assert len(tellers.collect().spans) == spans

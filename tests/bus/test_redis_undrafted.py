"""Entries of what was noted: the same as of the events that are not made for it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents.bus import Item
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.redis.entries import pack_all
from otel_dbevents.bus.redis.packing import encode_columns
from otel_dbevents.bus.redis.unpacking import BodyReader
from otel_dbevents.drafts import PART, Alike, Draft, Mixed
from otel_dbevents.events import (
    ConnectionCheckedIn,
    Database,
    DatabaseType,
    Environment,
    Event,
    QueryExecuted,
    Statement,
    joined_ids,
)
from otel_dbevents.sources.drafts import (
    CheckedInDraft,
    CheckedOutDraft,
    ClosedDraft,
    OpenedDraft,
    QueryDraft,
)
from tests.any_event import INTEGERS, unhurried
from tests.bus.contract import PATIENCE, Sink, checked

DATABASES = [Database(Environment.LOCAL, DatabaseType.SQLITE, name) for name in ("shop", "stock")]
STATEMENTS = [Statement(f"SELECT {name} FROM items", "SELECT items") for name in "ab"]
_SPANS = [SpanContext(1 << 64 | n, n, n > 1, TraceFlags(n & 1)) for n in (0, 1, 2)]
CONTEXTS = [*(set_span_in_context(NonRecordingSpan(each)) for each in (*_SPANS, _SPANS[1])), {}]
"""Of spans, of one span twice, of none that is valid, and of none at all."""
_where = {"context": st.sampled_from(CONTEXTS), "database": st.sampled_from(DATABASES)}
_COUNTS = st.sampled_from([-1, 0, 1]) | INTEGERS
_QUERIES = st.builds(
    QueryDraft, **_where, statement=st.sampled_from(STATEMENTS), end_time_ns=INTEGERS,
    duration_ns=INTEGERS, returned_rows=_COUNTS, affected_rows=_COUNTS, fetch_ns=_COUNTS,
    reading_ns=_COUNTS,
)  # fmt: skip
_TIMES = {"end_time_ns": INTEGERS, "duration_ns": INTEGERS}
DRAFTS = st.one_of(
    _QUERIES,
    st.builds(CheckedOutDraft, **_where, **_TIMES, create_ns=_COUNTS),
    st.builds(CheckedInDraft, **_where, **_TIMES),
    st.builds(ClosedDraft, **_where, **_TIMES),
)


def query(number: int = 1) -> QueryDraft:
    return QueryDraft(CONTEXTS[1], DATABASES[0], STATEMENTS[0], 1_790_000_000 + number, number)


def read(body: bytes) -> list[Event]:
    found, bad = BodyReader().read(body)
    assert bad == []
    return [found[place] for place in range(len(found))]


def made_of(draft: Any) -> Event:
    """Return the draft's event; the draft does not know of it."""
    [event] = replace(draft).make()
    return event


def packed_both_ways(drafts: Sequence[Any], body: bytes) -> bytes:
    """Return the body of the drafts' events, with the ids that they have in ``body``."""
    ids = [event.id for event in read(body)]
    events = [
        replace(made_of(each) if isinstance(each, Draft) else each, id=given_id)
        for each, given_id in zip(drafts, ids, strict=True)
    ]
    return encode_columns(events)


@unhurried
@given(st.lists(DRAFTS, min_size=1, max_size=30))
def test_drafts_of_all_kinds_come_to_the_bytes_of_their_events(drafts: list[Any]) -> None:
    body = encode_columns(drafts)
    assert body == packed_both_ways(drafts, body)
    assert {draft.made for draft in drafts} == {None}
    assert len({event.id for event in read(body)}) == len(drafts)


@unhurried
@given(st.lists(_QUERIES, min_size=1, max_size=30))
def test_drafts_that_are_alike_come_to_the_bytes_of_their_events(drafts: list[Any]) -> None:
    [(count, body)] = pack_all(Alike(drafts))
    assert count == len(drafts)
    assert body == packed_both_ways(drafts, body)


@unhurried
@given(st.lists(DRAFTS | DRAFTS.map(made_of), min_size=1, max_size=30))
def test_events_among_drafts_keep_their_place_and_id(items: list[Any]) -> None:
    body = encode_columns(items)
    assert body == packed_both_ways(items, body)
    for item, event in zip(items, read(body), strict=True):
        assert isinstance(item, Draft) or item.id == event.id


@unhurried
@given(st.lists(DRAFTS | DRAFTS.map(made_of), min_size=1, max_size=30))
def test_a_mixed_batch_comes_to_the_bytes_of_its_events(items: list[Any]) -> None:
    brought = [each if isinstance(each, Draft) else (each, None) for each in items]
    [(count, body)] = pack_all(Mixed(brought))
    assert count == len(items)
    assert body == packed_both_ways(items, body)


def test_a_mixed_batch_is_told_in_its_order_over_all_its_entries() -> None:
    where = CONTEXTS[1], DATABASES[0]
    items: list[Any] = []
    for number in range(PART):
        back: Any = CheckedInDraft(*where, 1_790_000_000, number)
        items += [(made_of(back), None) if number % 2 else back, query(number), query(number)]
    packed = list(pack_all(Mixed(items)))
    assert [count for count, _ in packed] == [PART] * 3
    told: list[Any] = [event for _, body in packed for event in read(body)]
    assert [type(each) for each in told] == [ConnectionCheckedIn, *[QueryExecuted] * 2] * PART
    assert [each.duration_ns for each in told] == [n for at in range(PART) for n in [at] * 3]


def test_what_came_first_in_a_mixed_batch_is_told_first_though_it_is_an_event() -> None:
    came = made_of(CheckedInDraft(CONTEXTS[1], DATABASES[0], 5, 6))
    [(_, body)] = pack_all(Mixed([(came, None), query(1), query(2)]))
    assert body == packed_both_ways([came, query(1), query(2)], body)


def test_each_event_among_drafts_keeps_its_parent_whatever_else_is_packed() -> None:
    """Parents that were found for one type are gone when those of the next are looked for."""
    spans = [SpanContext(7, number, False, TraceFlags(1)) for number in range(1, 41)]
    within = [set_span_in_context(NonRecordingSpan(each)) for each in spans]
    kinds = (CheckedInDraft, ClosedDraft, CheckedInDraft, CheckedOutDraft)
    for _ in range(20):
        items: list[Any] = []
        for kind in kinds:
            more = (3,) if kind is CheckedOutDraft else ()
            # Twice each, in turns, so that each is found anew: the last span's parent is known.
            items += [kind(each, DATABASES[0], 5, 4, *more) for each in within * 2]
            items.append(made_of(items[-1]))
        found = read(encode_columns(items))
        told = [event.parent and event.parent.span_id for event in found]
        assert told == [of_item(each) for each in items]


def of_item(item: Any) -> bytes:
    span_id: bytes = (
        made_of(item).parent.span_id if isinstance(item, Draft) else item.parent.span_id
    )
    return span_id


def test_a_draft_that_somebody_looked_at_is_its_event() -> None:
    looked_at, other = query(1), query(2)
    [event] = looked_at.events()
    first, second = read(encode_columns([looked_at, other]))
    assert first == event
    assert second.id not in {event.id, b""}
    [(_, body)] = pack_all(Alike([looked_at]))
    assert read(body) == [event]


def test_ids_that_are_made_together_are_random_version_4() -> None:
    ids = joined_ids(500)
    each = [ids[at : at + 16] for at in range(0, len(ids), 16)]
    assert len(set(each)) == 500
    assert {(one[6] >> 4, one[8] >> 6) for one in each} == {(4, 2)}
    assert len({one[6] & 15 for one in each}) == 16
    assert len({one[8] & 63 for one in each}) == 64


def plain_kinds(kind: type[Draft] = Draft) -> list[type[Draft]]:
    below = [each for one in kind.__subclasses__() for each in plain_kinds(one)]
    return [*below, kind] if kind.is_plain else below


@pytest.mark.parametrize("kind", plain_kinds(), ids=lambda kind: kind.__name__)
def test_a_plain_draft_has_no_field_that_its_one_event_has_not(kind: type[Draft]) -> None:
    [event] = kind.kinds
    assert set(kind.__struct_fields__) <= {*event.__struct_fields__, "context", "made"}


class Takers:
    """A bus of which everybody takes drafts as they are."""

    def __init__(self, **settings: Any) -> None:
        self.bus = MemoryBus(**{"history": 0} | settings)
        self.all: list[Item] = []
        self.queries: list[Item] = []
        self.batches: list[Sequence[Item]] = []
        self.bus.subscribe_drafts(self._take)
        self.bus.subscribe_drafts(self.queries.extend, QueryExecuted)

    def _take(self, batch: Sequence[Item]) -> None:
        self.batches.append(batch)
        self.all.extend(batch)

    def publish(self, *drafts: Any) -> None:
        for draft in drafts:
            self.bus.publish_draft(draft)
        assert self.bus.flush(PATIENCE)


def test_who_takes_drafts_gets_them_unmade_where_nobody_looks() -> None:
    takers, drafts = Takers(), [query(1), query(2)]
    takers.publish(*drafts)
    assert takers.all == takers.queries == drafts
    assert {draft.made for draft in drafts} == {None}
    assert {type(batch) for batch in takers.batches} == {Alike}
    assert takers.bus.close(PATIENCE)


@pytest.mark.parametrize("who", ["a history", "a consumer", "a handler", "synchronous"])
def test_where_somebody_looks_all_get_the_one_event(who: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "a history": {"history": 10}, "synchronous": {"synchronous": True},
    }  # fmt: skip
    takers, sink = Takers(**settings.get(who, {})), Sink()
    if who == "a consumer":
        takers.bus.subscribe(sink)
    if who == "a handler":
        takers.bus.handle(lambda event: sink.deliveries.append((event, None)), QueryExecuted)
    takers.publish(query(1), query(2))
    assert takers.all == takers.queries
    told: list[Any] = takers.all
    assert [event.duration_ns for event, _ in told] == [1, 2]
    seen = takers.bus.history if who == "a history" else sink.events
    if who != "synchronous":
        assert [event.id for event, _ in told] == [event.id for event in seen]
    assert takers.bus.close(PATIENCE)


def test_what_somebody_looked_at_who_left_keeps_its_id() -> None:
    takers, sink = Takers(), Sink()
    looks = takers.bus.subscribe(sink, QueryExecuted)
    draft = query(1)
    takers.bus.publish_draft(draft)
    looks.cancel()
    assert takers.bus.flush(PATIENCE)
    [told] = takers.all
    event = told[0] if isinstance(told, tuple) else draft.events()[0]
    assert event is sink.events[0]
    assert takers.bus.close(PATIENCE)


def test_only_what_somebody_looks_at_is_made() -> None:
    takers, sink = Takers(), Sink()
    takers.bus.subscribe(sink, ConnectionCheckedIn)
    asked_for = CheckedInDraft(CONTEXTS[1], DATABASES[0], 5, 6)
    opened = OpenedDraft(CONTEXTS[1], DATABASES[0], 1, 2, 3, 4)
    takers.publish(query(1), asked_for, opened, query(2))
    takers.bus.publish(checked(7), None)
    assert takers.bus.flush(PATIENCE)
    first, second, third, fourth, last, _ = takers.all
    assert isinstance(first, QueryDraft)
    assert second == (sink.events[0], CONTEXTS[1])
    assert [type(each) for each in (third, fourth)] == [tuple, tuple]
    assert isinstance(last, QueryDraft)
    assert takers.queries == [first, last]
    assert takers.bus.close(PATIENCE)

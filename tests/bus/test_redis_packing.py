"""Bodies: what events are in an entry, and what of a damaged one is read."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy.sql.elements import quoted_name

from otel_dbevents.bus.redis import unpacking
from otel_dbevents.bus.redis.fields import TABLES, fields_of
from otel_dbevents.bus.redis.packing import encode_columns
from otel_dbevents.bus.redis.unpacking import BodyError, BodyReader
from otel_dbevents.codec import encode
from otel_dbevents.events import (
    EVENT_TYPES,
    Database,
    DatabaseConnectionEstablished,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    Event,
    QueryExecuted,
    Statement,
    TraceParent,
    TransactionCommitted,
    new_id,
)
from tests.any_event import any_event, events_of, unhurried
from tests.golden.expected import BODIES, V1

DATABASE = Database(Environment.LOCAL, DatabaseType.SQLITE, "shop")
STATEMENT = Statement("SELECT name FROM items WHERE id = ?", "SELECT items", "SELECT", "items")
NAMES = sorted(V1)


def queries(number: int, **changed: Any) -> list[Event]:
    """Return queries as they come: five under each span."""
    parents = [TraceParent(new_id(), new_id()[8:]) for _ in range(number // 5 + 1)]
    return [
        QueryExecuted(
            DATABASE, parents[n // 5], 1_790_000_000_123_456_789 + n * 90_001, 300_000 + n,
            STATEMENT, 1, n % 20, -1, 20_000, 9_000, **changed,
        )
        for n in range(number)
    ]  # fmt: skip


def read(body: bytes) -> list[Event]:
    """Return a body's events, all of which can be read."""
    found, bad = BodyReader().read(body)
    assert bad == []
    return [found[place] for place in range(len(found))]


def changed(events: Sequence[Event], change: Callable[[Any, list[Any]], object]) -> bytes:
    """Return the body of these events with something changed in it: tables, or groups."""
    tables, groups = msgspec.msgpack.decode(encode_columns(events))
    change(tables, groups)
    return msgspec.msgpack.encode((tables, groups))


@given(st.lists(any_event(), min_size=1, max_size=30))
@settings(unhurried, max_examples=40)
def test_events_of_all_types_come_back_as_they_were_in_their_order(events: list[Event]) -> None:
    body = encode_columns(events)
    assert read(body) == events
    assert [type(event) for event in read(body)] == [type(event) for event in events]
    one_by_one, bad = unpacking._one_by_one(body)
    assert [one_by_one[place] for place in sorted(one_by_one)] == events
    assert bad == []


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
@settings(unhurried, max_examples=10)
@given(data=st.data())
def test_events_of_one_type_come_back_as_they_were(kind: type[Event], data: st.DataObject) -> None:
    events = data.draw(st.lists(events_of(kind), min_size=1, max_size=10))
    assert read(encode_columns(events)) == events


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_once_stays_readable(name: str) -> None:
    assert read((BODIES / f"{name}.msgpack").read_bytes()) == [V1[name]]


def test_every_type_has_a_body_that_was_written_once() -> None:
    assert sorted(path.stem for path in BODIES.glob("*.msgpack")) == sorted([*NAMES, "all"])
    assert read((BODIES / "all.msgpack").read_bytes()) == list(V1.values())


def test_a_plain_query_has_less_than_150_bytes_and_one_alone_less_than_before() -> None:
    assert len(encode_columns(queries(100))) / 100 < 100
    [alone] = queries(1)
    assert len(encode_columns([alone])) < len(encode(alone)) + 50


def test_what_repeats_is_told_once() -> None:
    body = encode_columns(queries(100))
    assert body.count(STATEMENT.query_text.encode()) == 1
    assert body.count(b"end_time_ns") == 1
    equal = [replace(event, statement=replace(STATEMENT)) for event in queries(3)]
    assert encode_columns(equal).count(STATEMENT.query_text.encode()) == 1


def test_what_was_told_once_is_one_object() -> None:
    one, *others = read(encode_columns(queries(5)))
    for other in others:
        assert other.database is one.database
        assert other.parent is one.parent
        assert other.statement is one.statement  # type: ignore[attr-defined]


def test_values_that_only_seem_equal_stay_what_they_are() -> None:
    given = [{"a": 1}, {"a": True}, {"a": 1.0}]
    events = [
        replace(event, attributes=said) for event, said in zip(queries(3), given, strict=True)
    ]
    back = [event.attributes for event in read(encode_columns(events))]  # type: ignore[attr-defined]
    assert [repr(said) for said in back] == [repr(said) for said in given]


def test_no_field_is_told_in_two_ways() -> None:
    for kind in (*EVENT_TYPES, *TABLES):
        for field in fields_of(kind):
            assert not (field.table and field.id_bytes), field
    of_tables = {field.table for kind in TABLES for field in fields_of(kind)}
    assert of_tables == {None}


def test_what_is_of_a_kind_of_its_own_is_told_as_plain_values() -> None:
    class Count(int):
        pass

    named = replace(STATEMENT, collection_name=quoted_name("items", quote=True))
    events = [replace(event, statement=named) for event in queries(2)]
    assert read(encode_columns(events)) == events
    opened = DatabaseConnectionEstablished("local", "sqlite", Count(3))
    assert read(encode_columns([opened])) == [opened]


def test_a_name_that_is_no_utf8_does_not_stop_the_others() -> None:
    where = Database(Environment.LOCAL, DatabaseType.SQLITE, "sh\udcffop")
    checked = DatabaseHealthCheckCompleted("healthy", 1)
    odd, same = read(encode_columns([TransactionCommitted(where, None, 1, 2, 3, 4), checked]))
    assert odd.database is not None
    assert odd.database.namespace == "sh?op"
    assert same == checked


@pytest.mark.parametrize("wrong", [object(), 2**70], ids=repr)
def test_what_is_no_value_is_refused(wrong: Any) -> None:
    events = [*queries(1), replace(queries(1)[0], returned_rows=wrong)]
    with pytest.raises((TypeError, OverflowError)):
        encode_columns(events)
    with pytest.raises(ValueError, match="16 bytes"):
        encode_columns([replace(queries(1)[0], id=b"short")])


def test_what_a_newer_version_says_beside_is_ignored() -> None:
    def more(tables: Any, groups: Any) -> None:
        tables["Invented"] = {"name": ["x"]}
        tables["Statement"]["invented"] = [1]
        groups[0]["invented"] = list(range(7))

    events = queries(7)
    assert read(changed(events, more)) == events


def test_what_an_older_version_did_not_say_is_the_default() -> None:
    def less(tables: Any, groups: Any) -> None:
        for name in ("returned_rows", "fetch_ns", "reading_ns"):
            del groups[0][name]
        del tables["Statement"]["collection_name"]

    told = [event.returned_rows for event in read(changed(queries(7), less))]  # type: ignore[attr-defined]
    assert told == [-1] * 7


def test_an_event_that_cannot_be_read_costs_itself_only() -> None:
    events = [*queries(3), TransactionCommitted(DATABASE, None, 1, 2, 3, 4), *queries(2)]

    def wrong(_tables: Any, groups: Any) -> None:
        groups[0]["duration_ns"][1] = "long"

    found, bad = BodyReader().read(changed(events, wrong))
    assert bad == [1]
    assert found == {place: event for place, event in enumerate(events) if place != 1}


def test_events_of_a_type_that_nobody_knows_cost_themselves_only() -> None:
    events = [*queries(1), TransactionCommitted(DATABASE, None, 1, 2, 3, 4), *queries(1)]

    def newer(_tables: Any, groups: Any) -> None:
        groups[1]["event_type"] = "QueryImagined"

    found, bad = BodyReader().read(changed(events, newer))
    assert bad == [1]
    assert found == {0: events[0], 2: events[2]}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _tables, groups: groups[0].update(database=[0]),
        lambda _tables, groups: groups[0].update(database=[2]),
        lambda _tables, groups: groups[0].update(statement=[-1]),
        lambda _tables, groups: groups[0].update(duration_ns=[1, 2]),
        lambda _tables, groups: groups[0].update(end_time_ns=[1, 1, -3]),
        lambda _tables, groups: groups[0].update(end_time_ns=[2**63 - 1, 1, 1]),
        lambda _tables, groups: groups[0].pop("duration_ns"),
        lambda tables, _groups: tables.pop("Database"),
        lambda tables, _groups: tables["TraceParent"].update(span_id=b"short"),
        lambda tables, _groups: tables["TraceParent"]["trace_id"].reverse(),
        lambda tables, _groups: tables["Statement"].update(query_text=[7]),
    ],
)
def test_wrong_columns_cost_the_events_that_have_them(wrong: Any) -> None:
    found, bad = BodyReader().read(changed(queries(3), wrong))
    assert not found
    assert bad == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _tables, groups: groups[0].update(at=[0, 0, 1]),
        lambda _tables, groups: groups[0].update(at=[0, 1, 5]),
        lambda _tables, groups: groups[0].update(at=["0", "1", "2"]),
        lambda _tables, groups: groups[0].update(at=[0]),
        lambda _tables, groups: groups[0].update(id=b"short"),
        lambda _tables, groups: groups.append(groups[0]),
        lambda _tables, groups: groups.append(7),
    ],
)
def test_a_body_that_does_not_say_which_events_it_has_is_none(wrong: Any) -> None:
    with pytest.raises(BodyError):
        BodyReader().read(changed(queries(3), wrong))


@unhurried
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_and_nothing_worse(data: bytes) -> None:
    with suppress(BodyError):
        BodyReader().read(data)


@settings(unhurried, max_examples=60)
@given(st.lists(any_event(), min_size=1, max_size=5), st.data())
def test_a_damaged_body_is_read_or_refused_and_nothing_worse(
    events: list[Event], data: st.DataObject
) -> None:
    damaged = bytearray(encode_columns(events))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BodyError):
        found, bad = BodyReader().read(bytes(damaged))
        assert sorted([*found, *bad]) == list(range(len(found) + len(bad)))
        assert all(isinstance(event, Event) for event in found.values())

"""Entries: what is stored of events, what a signature covers, and what is refused."""

import dis
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_dbevents.bus import subscription
from otel_dbevents.bus.redis.entries import (
    MOST_BYTES,
    MOST_EVENTS,
    Entry,
    EntryError,
    Unpacker,
    pack_all,
    verified,
)
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.codec import encode
from otel_dbevents.events import (
    Database,
    DatabaseType,
    Environment,
    Event,
    QueryExecuted,
    Statement,
)
from tests.any_event import any_event
from tests.bus import singles
from tests.bus.contract import checked, failed

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

KEYS = Keyring("the current key of the tests", "the key that was before it")
OLD = Keyring("the key that was before it")
STREAM = "events"


def entry_of(events: Sequence[Event]) -> Entry:
    [(count, body)] = pack_all(events)
    return Entry("app", "1-2", 40, count, 1_700_000_000_000_000_000, b"source", body)


def stored(entry: Entry, keys: Keyring | None = KEYS, stream: str = STREAM) -> dict[bytes, bytes]:
    flat = entry.fields(stream, keys)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def reason(
    fields: dict[bytes, bytes],
    keys: Keyring | None = KEYS,
    stream: str = STREAM,
    required: bool = False,
) -> str:
    with pytest.raises(EntryError) as caught:
        verified(fields, stream, keys, required=required)
    return caught.value.reason


@given(st.lists(any_event(), min_size=1, max_size=20))
@settings(max_examples=20)
def test_every_event_comes_back_as_it_was(events: list[Event]) -> None:
    entry = entry_of(events)
    assert verified(stored(entry), STREAM, KEYS) == entry
    assert Unpacker().unpack(entry) == (events, [])


@given(st.lists(any_event(), min_size=1, max_size=20))
@settings(max_examples=20)
def test_an_entry_of_the_version_before_is_read_as_it_was(events: list[Event]) -> None:
    body = singles.body_of([encode(event) for event in events])
    entry = Entry("app", "1-2", 40, len(events), 1, b"source", body, version=singles.VERSION)
    fields = stored(entry)
    assert fields[b"v"] == b"1"
    assert verified(fields, STREAM, KEYS) == entry
    assert Unpacker().unpack(entry) == (events, [])


def test_an_entry_has_a_hundred_events_or_64_kib_at_most() -> None:
    def sizes(length: int, number: int) -> list[int]:
        packed = list(pack_all([failed(n, f"{n:x>{length}}") for n in range(number)]))
        assert all(len(body) <= MOST_BYTES for count, body in packed if count > 1)
        return [count for count, _ in packed]

    assert sizes(10, 250) == [MOST_EVENTS, MOST_EVENTS, 50]
    assert sum(sizes(1_000, 250)) == 250
    assert max(sizes(1_000, 250)) < MOST_EVENTS
    assert sizes(MOST_BYTES, 3) == [1, 1, 1]
    assert (MOST_EVENTS, MOST_BYTES) == (100, 65_536)  # as the page says
    assert list(pack_all([])) == []


@pytest.mark.parametrize("number", [1, 15, 16, 100])
def test_any_number_of_events_is_one_body(number: int) -> None:
    events = [checked(n) for n in range(number)]
    assert Unpacker().unpack(entry_of(events)) == (events, [])


def test_what_repeats_is_one_object() -> None:
    database = Database(Environment.LOCAL, DatabaseType.SQLITE, "shop")
    statement = Statement("SELECT ?", "SELECT")
    events = [QueryExecuted(database, None, n, 1, statement) for n in range(2)]
    unpacker = Unpacker()
    one, _ = unpacker.unpack(entry_of(events))
    other, _ = unpacker.unpack(entry_of(events))
    assert one[0].database is not None
    assert one[0].database is one[1].database is other[1].database
    assert one[0].statement is other[0].statement  # type: ignore[attr-defined]


def test_an_event_that_cannot_be_read_costs_itself_only() -> None:
    good = [checked(1), failed(2)]
    bodies = [encode(good[0]), b"\x81\xaaevent_type\xa7Unknown", encode(good[1])]
    entry = Entry("app", "1", 0, 3, 1, b"", singles.body_of(bodies), version=singles.VERSION)
    assert Unpacker().unpack(entry) == (good, [1])
    assert Unpacker().unpack(replace(entry, count=2, chosen=(1, 2))) == (good[1:], [1])


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x01", b"\x90", b"\x81\x01\x02"])
def test_a_body_that_is_no_list_of_so_many_is_refused(body: bytes) -> None:
    with pytest.raises(EntryError, match="malformed"):
        Unpacker().unpack(Entry("app", "1", 0, 2, 1, b"", body))
    with pytest.raises(EntryError, match="malformed"):
        Unpacker().unpack(Entry("app", "1", 0, 2, 1, b"", body, version=singles.VERSION))


@pytest.mark.parametrize("name", [b"v", b"p", b"e", b"s", b"n", b"t", b"r", b"d", b"g"])
def test_a_change_in_any_field_is_seen(name: bytes) -> None:
    fields = stored(entry_of([checked(1)]))
    value = fields[name]
    fields[name] = b"1" + value[1:] if value[:1] != b"1" else b"2" + value[1:]
    assert reason(fields) == "signature"


def test_bytes_that_move_from_one_field_to_the_next_are_seen() -> None:
    fields = stored(entry_of([checked(1)]))
    fields[b"p"], fields[b"e"] = b"app1", b"-2"
    assert reason(fields) == "signature"


def test_an_entry_of_another_stream_is_seen() -> None:
    assert reason(stored(entry_of([checked(1)])), stream="others") == "signature"


def test_the_previous_key_verifies_still_and_an_unknown_one_does_not() -> None:
    entry = entry_of([checked(1)])
    assert verified(stored(entry, OLD), STREAM, KEYS) == entry
    assert reason(stored(entry, KEYS), OLD) == "unknown_key"
    fields = stored(entry)
    fields[b"k"] = OLD.key_id.encode()
    assert reason(fields) == "signature"


def test_without_a_signature_it_is_refused_where_one_is_wanted() -> None:
    entry = entry_of([checked(1)])
    assert reason(stored(entry, None)) == "unsigned"
    assert reason(stored(entry, None), None, required=True) == "unsigned"
    assert reason(stored(entry), None, required=True) == "unknown_key"
    assert verified(stored(entry, None), STREAM, None) == entry
    assert verified(stored(entry), STREAM, None) == entry


def test_a_newer_version_is_told_from_what_is_no_entry() -> None:
    fields = stored(entry_of([checked(1)]))
    assert reason({**fields, b"v": b"3"}) == "version"
    assert reason({b"hello": b"world"}) == "malformed"
    assert reason({**fields, b"s": b"-1"}) == "malformed"
    assert reason({**fields, b"n": b"9" * 20}) == "malformed"
    assert reason({**fields, b"p": b"\xff"}) == "malformed"
    assert reason({name: value for name, value in fields.items() if name != b"d"}) == "malformed"


def test_signatures_are_compared_in_a_time_that_tells_nothing_of_them() -> None:
    code = Keyring.verifies.__code__
    assert "compare_digest" in code.co_names  # a time is not measured here
    assert not [each for each in dis.get_instructions(code) if each.opname == "COMPARE_OP"]


def test_what_comes_within_fifty_milliseconds_may_be_one_entry() -> None:
    assert subscription._GATHER_SECONDS == 0.05


def test_a_short_key_is_refused_and_no_key_is_told() -> None:
    with pytest.raises(ValueError, match="16 bytes or more") as caught:
        Keyring("Xq7short")
    assert "Xq7" not in str(caught.value)
    secret = "Xq7 a key that is long enough"
    assert secret not in repr(Keyring(secret))
    assert Keyring(secret).key_id == Keyring(secret).key_id != KEYS.key_id

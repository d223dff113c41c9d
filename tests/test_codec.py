"""Events to bytes and back."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from msgspec.structs import replace
from sqlalchemy.sql.elements import quoted_name

from otel_dbevents.codec import (
    DecodeError,
    decode,
    decode_cloudevent,
    encode,
    encode_cloudevent,
    to_cloudevent,
)
from otel_dbevents.events import (
    EVENT_TYPES,
    AnyEvent,
    Database,
    DatabaseConnectionEstablished,
    DatabaseHealthCheckCompleted,
    DatabaseType,
    Environment,
    Event,
    Statement,
    TraceParent,
    TransactionCommitted,
)
from tests.any_event import any_event, events_of, unhurried
from tests.golden.expected import FOLDER, V1

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parent / "golden/cloudevents.schema.json").read_text("utf-8")),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
NAMES = sorted(kind.__name__ for kind in EVENT_TYPES)
every_type = pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
every_name = pytest.mark.parametrize("name", NAMES)
QUERY = V1["QueryExecuted"]


def attributes_of(event: Event) -> dict[str, Any]:
    return json.loads(encode_cloudevent(event))


# What was written by an older version


def golden(name: str, ending: str) -> bytes:
    return (FOLDER / f"{name}.{ending}").read_bytes()


def test_every_type_has_its_golden_files_and_no_file_lacks_its_type() -> None:
    assert set(AnyEvent.__args__) == set(EVENT_TYPES)
    assert sorted(V1) == NAMES
    for ending in ("msgpack", "json"):
        assert sorted(path.stem for path in FOLDER.glob(f"*.{ending}")) == NAMES


def test_every_concrete_event_can_be_decoded() -> None:
    def below(kind: type[Event]) -> set[type[Event]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(Event) if kind.__module__.startswith("otel_dbevents.")}
    assert {kind.__name__ for kind in ours} - set(NAMES) == {"Event", "Fact"}


@every_name
def test_old_bytes_stay_readable(name: str) -> None:
    assert decode(golden(name, "msgpack")) == V1[name]
    assert decode_cloudevent(golden(name, "json")) == V1[name]


@every_name
def test_old_json_is_a_cloudevent(name: str) -> None:
    SCHEMA.validate(json.loads(golden(name, "json")))


@every_name
def test_a_field_that_only_a_newer_version_knows_is_ignored(name: str) -> None:
    newer = msgspec.msgpack.decode(golden(name, "msgpack"))
    newer["invented_later"] = {"deep": [1, 2]}
    if newer["database"]:
        newer["database"]["invented_later"] = 1
    assert decode(msgspec.msgpack.encode(newer)) == V1[name]
    sent = json.loads(golden(name, "json"))
    sent["invented"] = "later"
    sent["data"]["invented_later"] = {"deep": [1, 2]}
    assert decode_cloudevent(json.dumps(sent)) == V1[name]


@every_type
def test_a_field_with_a_default_may_be_missing(kind: type[Event]) -> None:
    fields = msgspec.structs.fields(kind)
    kept = {field.encode_name for field in fields if field.required} | {"event_type"}
    old = msgspec.msgpack.decode(golden(kind.__name__, "msgpack"))
    older = decode(msgspec.msgpack.encode({name: old[name] for name in old if name in kept}))
    for field in fields:
        if field.required:
            assert getattr(older, field.name) == getattr(V1[kind.__name__], field.name)


# There and back


@every_type
@settings(unhurried, max_examples=30)
@given(data=st.data())
def test_every_event_comes_back_as_it_was(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))
    for back in (decode(encode(event)), decode_cloudevent(encode_cloudevent(event))):
        assert back == event
        assert type(back) is kind
        assert back.event_id == event.event_id
        assert back.time_ns == event.time_ns
        assert back.aggregate_id == event.aggregate_id
        assert back.to_dict() == event.to_dict()


def test_the_wire_is_a_map_with_names() -> None:
    wire = msgspec.msgpack.decode(encode(QUERY))
    assert wire["event_type"] == "QueryExecuted"
    assert wire["end_time_ns"] == 1_760_000_000_123_456_789
    assert wire["parent"]["span_id"] == bytes.fromhex("00f067aa0ba902b7")


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2262, 4, 11, tzinfo=UTC),
        datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    ],
    ids=str,
)
def test_a_given_time_comes_back(moment: datetime) -> None:
    event = DatabaseHealthCheckCompleted("healthy", 1, timestamp=moment)
    assert event.timestamp == moment
    assert decode(encode(event)) == event
    assert decode_cloudevent(encode_cloudevent(event)) == event


def test_texts_that_are_no_plain_strings_are_sent_as_text() -> None:
    named = replace(
        QUERY, statement=Statement("SELECT", collection_name=quoted_name("items", quote=True))
    )
    for back in (decode(encode(named)), decode_cloudevent(encode_cloudevent(named))):
        assert back.statement.collection_name == "items"


def test_numbers_that_are_no_plain_integers_are_sent_as_integers() -> None:
    class Count(int):
        pass

    event = DatabaseConnectionEstablished("local", "sqlite", Count(3))
    assert decode(encode(event)) == event
    assert decode_cloudevent(encode_cloudevent(event)) == event


def test_a_file_name_that_is_no_utf8_does_not_stop_an_event() -> None:
    where = Database(Environment.LOCAL, DatabaseType.SQLITE, "sh\udcffop\n.db")
    event = TransactionCommitted(where, None, 1, 2, 3, 4)
    for back in (decode(encode(event)), decode_cloudevent(encode_cloudevent(event))):
        assert back.database.namespace == "sh?op\n.db"
        assert back.event_id == event.event_id
    SCHEMA.validate(attributes_of(event))


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(TypeError, match="object is no value of an event"):
        encode(TransactionCommitted(object(), None, 1, 2, 3, 4))  # type: ignore[arg-type]


# What is no event


def changed(**fields: Any) -> bytes:
    wire = msgspec.msgpack.decode(encode(QUERY))
    return msgspec.msgpack.encode({**wire, **fields})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no event that can be read: .*truncated"),
        (b"\xc1", "no event that can be read: .*malformed"),
        (b"\x93\x01\x02\x03", "no event that can be read: Expected `object`, got `array`"),
        (b"\x80", "no event that can be read: .*missing required field `event_type`"),
        (encode(QUERY)[:-3], "truncated"),
        (encode(QUERY) + b"\x00", "trailing"),
        (b"\x81\xa1x" + b"\x91" * 100_000, "recursion"),
        (changed(event_type="QueryImagined"), r"^unknown event type 'QueryImagined'$"),
        (changed(event_type="Fact"), r"^unknown event type 'Fact'$"),
        (changed(event_type=7), "no event that can be read"),
        (changed(end_time_ns="now"), r"no QueryExecuted that can be read: .*`\$\.end_time_ns`"),
        (changed(end_time_ns=-1), r"\$\.end_time_ns"),
        (changed(end_time_ns=2**63), r"\$\.end_time_ns"),
        (changed(id=b"short"), r"length >= 16 - at `\$\.id`"),
        (changed(database=None), r"\$\.database"),
        (changed(parent={"trace_id": bytes(15), "span_id": bytes(8)}), r"\$\.parent\.trace_id"),
        (changed(statement={}), r"missing required field `query_text` - at `\$\.statement`"),
        (b"\x81\xaaevent_type\xa1\xff", "no event that can be read"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_malformed_bytes_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(data)
    with pytest.raises(ValueError, match=message):
        decode(data)


def test_the_rules_of_a_constructor_hold_for_bytes_too() -> None:
    wire = msgspec.msgpack.decode(encode(V1["DatabaseConnectionFailed"]))
    with pytest.raises(DecodeError, match="retry_count takes a whole number"):
        decode(msgspec.msgpack.encode({**wire, "retry_count": -2}))
    leaky = {**wire, "error_message": "postgresql://ada:hunter2@db/x"}
    assert decode(msgspec.msgpack.encode(leaky)).error_message == "postgresql://db/x"


@unhurried
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_and_nothing_worse(data: bytes) -> None:
    for read in (decode, decode_cloudevent):
        with pytest.raises(DecodeError):
            read(data)


@unhurried
@given(any_event(), st.data())
def test_a_damaged_event_is_read_or_refused_and_nothing_worse(
    event: Event, data: st.DataObject
) -> None:
    for write, read in ((encode, decode), (encode_cloudevent, decode_cloudevent)):
        damaged = bytearray(write(event))
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        with suppress(DecodeError):
            assert isinstance(read(damaged), Event)


# CloudEvents


def test_a_cloudevent_says_what_happened_where_and_when() -> None:
    found = to_cloudevent(QUERY, source="https://example.com/shop")
    data = found.pop("data")
    assert found == {
        "specversion": "1.0",
        "id": "0199c0de-0000-4000-8000-000000000001",
        "source": "https://example.com/shop",
        "type": "otel_dbevents.QueryExecuted",
        "subject": "production/postgresql/db.example.com:5433/shop",
        "time": "2025-10-09T08:53:20.123456789Z",
        "datacontenttype": "application/json",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=one,other=2",
    }
    assert data["end_time_ns"] == "1760000000123456789"
    assert data["duration_ns"] == 1_500_000
    assert data["parent"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert data["statement"]["query_text"] == "SELECT * FROM größen WHERE id = ?"


def test_a_judgement_names_its_query_as_the_query_names_itself() -> None:
    judgement = to_cloudevent(V1["SlowQueryDetected"])
    assert judgement["data"]["query_id"] == to_cloudevent(QUERY)["id"]


@pytest.mark.parametrize(
    "parent", [None, TraceParent(bytes(16), b"x" * 8), TraceParent(b"x" * 16, bytes(8))]
)
def test_without_a_span_there_is_no_traceparent(parent: TraceParent | None) -> None:
    event = replace(QUERY, parent=parent)
    assert not {"traceparent", "tracestate"} & set(to_cloudevent(event))
    assert decode_cloudevent(encode_cloudevent(event)) == event


@every_type
@settings(unhurried, max_examples=30)
@given(data=st.data())
def test_every_event_is_a_valid_cloudevent(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(kind))
    SCHEMA.validate(attributes_of(event))
    assert json.loads(json.dumps(to_cloudevent(event), allow_nan=False)) == attributes_of(event)


@every_name
def test_every_event_is_read_by_the_cloudevents_package(name: str) -> None:
    event = V1[name]
    read = JSONFormat().read(CloudEvent, encode_cloudevent(event, "/shop"))
    assert read.get_id() == str(event.event_id)
    assert read.get_source() == "/shop"
    assert read.get_type() == f"otel_dbevents.{name}"
    assert read.get_specversion() == "1.0"
    assert read.get_subject() == event.aggregate_id
    assert read.get_time() == event.occurred_at
    assert read.get_datacontenttype() == "application/json"
    expected = None if event.parent is None else str(event.parent)
    assert read.get_extension("traceparent") == expected
    assert read.get_data() == to_cloudevent(event)["data"]


@every_name
def test_nothing_is_lost_through_the_cloudevents_package(name: str) -> None:
    passed_on = JSONFormat().write(JSONFormat().read(None, encode_cloudevent(V1[name])))
    assert decode_cloudevent(passed_on) == V1[name]


def test_nothing_is_lost_through_a_reader_that_has_doubles_only() -> None:
    passed_on = json.dumps(json.loads(encode_cloudevent(QUERY), parse_int=float))
    whole = json.loads(passed_on, parse_float=lambda text: int(float(text)))
    assert decode_cloudevent(json.dumps(whole)) == QUERY


@pytest.mark.parametrize("source", ["", "two words", "größe", "a\nb", 'a"b', "a\\b", "a<b>"])
def test_a_source_that_is_no_uri_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="source takes a URI reference"):
        to_cloudevent(QUERY, source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specversion": "0.3"}, "CloudEvents 1.0 is read, not '0.3'"),
        ({"type": "otel_dbevents.QueryImagined"}, "unknown event type 'otel_dbevents.QueryImag"),
        ({"type": "QueryExecuted"}, "unknown event type 'QueryExecuted'"),
        ({"type": None}, r"\$\.type"),
        ({"id": "not a uuid"}, "no CloudEvent of an event: badly formed"),
        ({"data": [1]}, r"\$\.data"),
        ({"data": {}}, "no CloudEvent of an event"),
        ({"data": {"end_time_ns": [1]}}, "no CloudEvent of an event"),
        ({"data": {"end_time_ns": "1"}}, "missing required field `database`"),
        ({"data": {"end_time_ns": "1", "parent": {"trace_id": "xyz"}}}, "non-hexadecimal"),
    ],
)
def test_json_that_is_no_event_is_refused_with_the_reason(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DecodeError, match=message):
        decode_cloudevent(json.dumps({**attributes_of(QUERY), **change}))


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "data"])
def test_a_cloudevent_needs_its_attributes(missing: str) -> None:
    found = attributes_of(QUERY)
    del found[missing]
    with pytest.raises(DecodeError, match=missing):
        decode_cloudevent(json.dumps(found))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b'{"data":' + b"[" * 100_000], ids=len
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="no CloudEvent of an event"):
        decode_cloudevent(data)


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"id": ""},
        {"source": ""},
        {"source": "two words"},
        {"type": "a\nb"},
        {"subject": ""},
        {"time": "2025-10-09 08:53:20Z"},
        {"time": "2025-10-09T08:53:20"},
        {"datacontenttype": "json"},
        {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"},
        {"trace_parent": "x"},
        {"number": 2**31},
        {"number": 0.5},
        {"mapping": {}},
        {"data_base64": "AA=="},
    ],
    ids=str,
)
def test_the_schema_can_refuse(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SCHEMA.validate({**attributes_of(QUERY), **change})

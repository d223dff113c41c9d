"""Events to bytes and back: msgpack for our own wire, CloudEvents 1.0 JSON for everyone else.

Both forms may grow: a reader ignores fields that it does not know, and a field added later has a
default, so old events stay readable. Neither loses anything: what is decoded equals what was
encoded, to the nanosecond.
"""

from datetime import datetime
from re import compile as pattern
from typing import Any, Final
from uuid import UUID

import msgspec

from otel_dbevents.events import EVENT_TYPES, AnyEvent, Event
from otel_dbevents.redaction import plain_text

SOURCE: Final = "/otel_dbevents"
"""The CloudEvents ``source`` where none is given. Ids are UUIDs, unique under any source."""

CLOUDEVENT_CONTENT_TYPE: Final = "application/cloudevents+json"
"""The media type of one CloudEvent in structured mode."""

_PREFIX: Final = "otel_dbevents."
_NAMES: Final = frozenset(kind.__name__ for kind in EVENT_TYPES)
_ENVELOPE: Final = frozenset({"id", "event_type"})
_BYTES: Final = frozenset({"generation_id", "trace_id", "span_id", "query_id"})
_FREE: Final = frozenset({"details", "attributes"})  # the user's mappings: names mean nothing
_URI: Final = pattern(r"[\w.~:/?#\[\]@!$&'()*+,;=%-]+")
_CONTROL: Final = pattern(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


class DecodeError(ValueError):
    """The bytes are no event, or one that this version does not know."""


class _Kind(msgspec.Struct):
    event_type: str = ""


class _CloudEvent(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    data: dict[str, Any]


def plain_value(value: object) -> object:
    """Turn what msgspec refuses into what it takes, such as SQLAlchemy's names of tables.

    Raises `TypeError` for what is no value of an event.
    """
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} is no value of an event")


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=plain_value)
_decoder: Final = msgspec.msgpack.Decoder(AnyEvent)
_kind_decoder: Final = msgspec.msgpack.Decoder(_Kind)
_cloudevent_decoder: Final = msgspec.json.Decoder(_CloudEvent)


def encode(event: Event) -> bytes:
    """Return the event as a msgpack map with its type's name under ``event_type``."""
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(tidied(_builtins(event, bytes, datetime)))


def decode(data: bytes | bytearray | memoryview) -> Event:
    """Return the event that `encode` made into these bytes.

    Raises `DecodeError` for anything else: malformed bytes, an event type that this version does
    not know, a field that is missing or out of range.
    """
    try:
        event: Event = _decoder.decode(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(_reason(data, error)) from error
    return event


def to_cloudevent(event: Event, source: str = SOURCE) -> dict[str, Any]:
    """Return the event as a CloudEvent (1.0, JSON, structured mode), in plain values.

    ``id`` is the event's id, ``subject`` its aggregate, ``traceparent`` and ``tracestate`` (the
    distributed tracing extension) the span that it happened under. ``data`` has every field; ids
    in it are hexadecimal digits and ``end_time_ns`` is a text, since JSON readers round numbers
    of its size. Raises `ValueError` when ``source`` is no URI reference.
    """
    if not _URI.fullmatch(source) or not source.isascii():
        raise ValueError(f"source takes a URI reference, got {source!r}")
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": source,
        "type": _PREFIX + event.event_type,
        "subject": _CONTROL.sub("?", plain_text(event.aggregate_id)),
        "time": _rfc3339(event),
        "datacontenttype": "application/json",
    }
    parent = event.parent
    if parent is not None and any(parent.trace_id) and any(parent.span_id):
        found["traceparent"] = str(parent)
        if parent.trace_state:
            found["tracestate"] = _CONTROL.sub("?", plain_text(parent.trace_state))
    found["data"] = _data(event)
    return found


def encode_cloudevent(event: Event, source: str = SOURCE) -> bytes:
    """Return the event as a CloudEvent in JSON, UTF-8; see `to_cloudevent`."""
    return msgspec.json.encode(to_cloudevent(event, source))


def decode_cloudevent(data: bytes | bytearray | memoryview | str) -> Event:
    """Return the event that `encode_cloudevent` made into this JSON.

    Other attributes than ``id`` and ``type`` may have changed on the way. Raises `DecodeError`
    for anything that is no CloudEvent of ours.
    """
    try:
        found = _cloudevent_decoder.decode(data)
        if found.specversion != "1.0":
            raise DecodeError(f"CloudEvents 1.0 is read, not {found.specversion[:20]!r}")
        name = found.type.removeprefix(_PREFIX)
        if not found.type.startswith(_PREFIX) or name not in _NAMES:
            raise DecodeError(f"unknown event type {found.type[:100]!r}")
        fields = {**_from_text(found.data), "id": UUID(found.id).bytes, "event_type": name}
        fields["end_time_ns"] = int(fields.get("end_time_ns", ""))
        event: Event = msgspec.convert(fields, AnyEvent)
    except DecodeError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError(f"no CloudEvent of an event: {error}") from error
    return event


def _data(event: Event) -> dict[str, Any]:
    fields = tidied(_builtins(event, bytes))
    data = {name: _to_text(value, name) for name, value in fields.items() if name not in _ENVELOPE}
    data["end_time_ns"] = str(data["end_time_ns"])
    return data


def _builtins(event: Event, *kept: type) -> Any:
    return msgspec.to_builtins(event, builtin_types=kept, enc_hook=plain_value)


def _reason(data: bytes | bytearray | memoryview, error: Exception) -> str:
    try:
        name = _kind_decoder.decode(data).event_type
    except (ValueError, RecursionError):
        name = ""
    if name and name not in _NAMES:
        return f"unknown event type {name[:100]!r}"
    return f"no {name or 'event'} that can be read: {error}"


def _rfc3339(event: Event) -> str:
    nanoseconds = event.time_ns % 1_000_000_000
    return f"{event.occurred_at:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _to_text(value: Any, name: str) -> Any:
    """Return bytes as text: as a UUID what names an event, else as hexadecimal digits."""
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if name == "query_id" else value.hex()
    if isinstance(value, dict):
        return {key: _to_text(item, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_text(item, name) for item in value]
    return value


def _from_text(value: Any, name: str = "") -> Any:
    """Undo `_to_text`."""
    if isinstance(value, str) and name in _BYTES:
        return bytes.fromhex(value.replace("-", ""))
    if isinstance(value, dict) and name not in _FREE:
        return {key: _from_text(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_text(item, name) for item in value]
    return value


def tidied(value: Any) -> Any:
    """Replace what UTF-8 cannot hold, at any depth."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {tidied(key): tidied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tidied(item) for item in value]
    return value

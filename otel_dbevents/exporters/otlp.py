"""Finished spans as the bytes of an OTLP ``ExportTraceServiceRequest``.

In: the SDK's ``ReadableSpan``s, ours and the application's alike. Out: what the SDK's own
``encode_spans`` would give, message for message, at a fraction of its cost, since no message
object is made and what repeats (attributes, names, resource, scope) is remembered as bytes. It
reads private fields of the SDK; `is_faithful` tells whether they are what is known here.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from otel_dbevents.exporters.otlp_late import LateSpans, is_late
from otel_dbevents.exporters.pairs import Pairs, delimited, text, varint
from otel_dbevents.swallowing import came_through, told

_log = logging.getLogger("otel_dbevents.exporters")

_NOWHERE: Final = SpanContext(1, 1, is_remote=False)
_NO_STATE: Final = _NOWHERE.trace_state
_EMPTY: Final = Resource.get_empty()
_TIMES: Final = Struct("<BQBQ")
_TIME: Final = Struct("<BQ")
_LOCAL: Final = b"\x85\x01\x00\x01\x00\x00"
_REMOTE: Final = b"\x85\x01\x00\x03\x00\x00"
_LIST: Final[Any] = BoundedList
_UNSET: Final = StatusCode.UNSET
_READ: Final = (
    "get_span_context",
    "parent",
    "name",
    "kind",
    "start_time",
    "end_time",
    "attributes",
    "events",
    "links",
    "status",
    "resource",
    "instrumentation_scope",
    "dropped_attributes",
    "dropped_events",
    "dropped_links",
)
_HEADED: Final = 2_048
_HEADS: Final = tuple(b"\x12" + varint(length) for length in range(_HEADED))
"""What is before a span, by its length."""
_MOST_NAMES: Final = 1_024
_MOST_GROUPS: Final = 64
_LONGEST_NAME: Final = 256


class SpanEncoder:
    """Encodes spans. One may serve several threads; what it remembers is bounded.

    A batch with a span that it cannot encode goes through the SDK's encoder; `fallbacks` counts
    these batches. Spans that cannot be encoded there either are lost alone; `lost` counts them.
    The first of each kind is logged.
    """

    def __init__(self) -> None:
        self.fallbacks = 0
        self.lost = 0
        self._pairs = Pairs(_unusual)
        self._names: list[dict[str, bytes]] = [{} for _ in SpanKind]
        self._heads: dict[int, tuple[Any, bytes, bytes]] = {}
        self._plain: dict[type, bool] = {ReadableSpan: True}
        self._late = LateSpans(self._pairs, self._named, _known_state)

    def encode(self, spans: Sequence[ReadableSpan]) -> bytes:
        """Return the request. Raises only what the SDK's encoder does when no span is left."""
        try:
            return self._encode(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, the SDK's encoder may know it
            told("span encoder", error)
            return self._fall_back(spans, error)

    def _encode(self, spans: Sequence[ReadableSpan]) -> bytes:
        groups: dict[Any, dict[Any, list[bytes]]] = {}
        found: dict[tuple[int, int], tuple[Any, Any, list[bytes]]] = {}
        last_resource = last_scope = encoded = None
        encode_late = self._late.batch().encode
        for span in spans:
            late = encode_late(span) if is_late(type(span)) else None  # type: ignore[arg-type]
            if late is not None:
                body, tracer = late
                resource, scope = tracer.resource, tracer._instrumentation_scope
            elif type(span) is ReadableSpan or self._is_plain(type(span)):
                resource, scope = span._resource, span._instrumentation_scope
                body = self._span(span)
            else:
                resource, scope = span.resource, span.instrumentation_scope
                body = _by_reference(span).SerializeToString()
            if encoded is None or resource is not last_resource or scope is not last_scope:
                same = found.get((id(resource), id(scope)))
                if same is None:
                    group = groups.setdefault(resource, {}).setdefault(scope, [])
                    same = found[id(resource), id(scope)] = resource, scope, group
                last_resource, last_scope, encoded = same
            length = len(body)
            encoded.append(_HEADS[length] if length < _HEADED else b"\x12" + varint(length))
            encoded.append(body)
        return b"".join([b"\x0a" + delimited(self._group(*group)) for group in groups.items()])

    def _is_plain(self, kind: type) -> bool:
        """Whether the private fields of such spans may be read: it overrides nothing we read."""
        plain = self._plain.get(kind)
        if plain is None:
            plain = self._plain[kind] = issubclass(kind, ReadableSpan) and all(
                getattr(kind, name) in (getattr(ReadableSpan, name), getattr(Span, name))
                for name in _READ
            )
        return plain

    def _group(self, resource: Any, scopes: dict[Any, list[bytes]]) -> bytes:
        """Return the ``ResourceSpans`` of one resource."""
        head, tail = self._head(resource, Resource)
        parts = [head]
        for scope, encoded in scopes.items():
            scope_head, scope_tail = self._head(scope, InstrumentationScope)
            body = b"".join([scope_head, *encoded, scope_tail])
            parts.append(b"\x12" + varint(len(body)))
            parts.append(body)
        parts.append(tail)
        return b"".join(parts)

    def _head(self, thing: Any, kind: type) -> tuple[bytes, bytes]:
        """Return a resource or scope as the field 1, and its schema's URL as the field 3.

        They are remembered by identity, as both are immutable.
        """
        known = self._heads.get(id(thing))
        if known is not None and known[0] is thing:
            return known[1:]
        described = self._resource(thing) if kind is Resource else self._scope(thing)
        head = b"\x0a" + delimited(described)
        tail = b"" if thing is None else text(b"\x1a", thing.schema_url)
        if type(thing) is kind:
            if len(self._heads) >= _MOST_GROUPS:
                self._heads.clear()
            self._heads[id(thing)] = thing, head, tail
        return head, tail

    def _resource(self, resource: Resource) -> bytes:
        return _fields(b"\x0a", self._pairs.of(resource.attributes or {}))

    def _scope(self, scope: InstrumentationScope | None) -> bytes:
        if scope is None:
            return b""
        named = text(b"\x0a", scope.name) + text(b"\x12", scope.version)
        return named + _fields(b"\x1a", self._pairs.of(scope.attributes or {}))

    def _span(self, span: Any) -> bytes:
        trace_id, span_id, _, _, state, _ = span._context
        parent, attributes, kind = span._parent, span._attributes, span._kind._value_
        above, flags, dropped = b"", _LOCAL, 0
        if parent:
            above = b"\x22\x08" + parent[1].to_bytes(8, "big")
            if parent[2]:
                flags = _REMOTE
        if type(attributes) is BoundedAttributes:
            dropped, attributes = attributes.dropped, attributes._dict
        elif type(attributes) is not dict:
            dropped = span.dropped_attributes
        pairs = self._pairs.of(attributes) if attributes else None
        return b"".join(
            (
                b"\x0a\x10",
                trace_id.to_bytes(16, "big"),
                b"\x12\x08",
                span_id.to_bytes(8, "big"),
                b"" if state is _NO_STATE else _state(state),  # `_known_state`
                above,
                self._names[kind].get(span._name) or self._named(span._name, kind),
                _TIMES.pack(0x39, span._start_time or 0, 0x41, span._end_time or 0),
                b"\x4a" + b"\x4a".join(pairs) if pairs else b"",
                b"\x50" + _count(dropped) if dropped else b"",
                self._rest(span._events, span._links, span._status),
                flags,
            )
        )

    def _rest(self, events: Any, links: Any, status: Any) -> bytes:
        if (
            _is_empty_list(events)
            and _is_empty_list(links)
            and type(status) is Status
            and status._status_code is _UNSET
            and status._description is None
        ):
            return b"\x7a\x00"
        return self._events(events) + self._links(links) + _status(status)

    def _named(self, name: str, kind: int) -> bytes:
        """Return name and kind, and remember them together."""
        encoded = text(b"\x2a", name) + b"\x30" + varint(kind + 1)
        if len(name) <= _LONGEST_NAME:
            names = self._names[kind]
            if len(names) >= _MOST_NAMES:
                names.clear()
            names[name] = encoded
        return encoded

    def _events(self, events: Any) -> bytes:
        """Return the events, and how many were dropped."""
        items, dropped = _items(events)
        if not items and not dropped:
            return b""
        encoded = [delimited(self._event(event)) for event in items]
        return _fields(b"\x5a", encoded) + (b"\x60" + _count(dropped) if dropped else b"")

    def _event(self, event: Event) -> bytes:
        time = _TIME.pack(0x09, event.timestamp or 0)
        return time + text(b"\x12", event.name) + self._attributes(event, b"\x1a", b"\x20")

    def _links(self, links: Any) -> bytes:
        """Return the links, and how many were dropped."""
        items, dropped = _items(links)
        if not items and not dropped:
            return b""
        encoded = [delimited(self._link(link)) for link in items]
        return _fields(b"\x6a", encoded) + (b"\x70" + _count(dropped) if dropped else b"")

    def _link(self, link: Link) -> bytes:
        context = link.context
        trace_id = b"\x0a\x10" + context.trace_id.to_bytes(16, "big")
        ids = trace_id + b"\x12\x08" + context.span_id.to_bytes(8, "big")
        flags = b"\x35\x00\x03\x00\x00" if context.is_remote else b"\x35\x00\x01\x00\x00"
        return ids + self._attributes(link, b"\x22", b"\x28") + flags

    def _attributes(self, owner: Event | Link, tag: bytes, dropped_tag: bytes) -> bytes:
        """Return an event's or link's attributes, and how many were dropped."""
        attributes: Any = owner.attributes
        dropped = owner.dropped_attributes
        if type(attributes) is BoundedAttributes:
            attributes = attributes._dict
        encoded = _fields(tag, self._pairs.of(attributes)) if attributes else b""
        return encoded + dropped_tag + _count(dropped) if dropped else encoded

    def _fall_back(self, spans: Sequence[ReadableSpan], error: Exception) -> bytes:
        """Encode with the SDK's encoder: all at once, else each span alone."""
        self.fallbacks += 1
        if self.fallbacks == 1:
            _log.warning(
                "a batch of spans goes through the SDK's own, slower encoder (said once): %s",
                came_through(error),
            )
        try:
            return _reference(spans)
        except Exception:
            alone = [encoded for span in spans if (encoded := self._alone(span)) is not None]
            if not alone:
                raise
            return b"".join(alone)  # requests that follow each other are one request

    def _alone(self, span: ReadableSpan) -> bytes | None:
        try:
            return _reference([span])
        except Exception as error:  # noqa: BLE001 - a stranger's values; the other spans go on
            self.lost += 1
            if self.lost == 1:
                said = "a span cannot be encoded and is lost (said once): %s"
                _log.warning(said, came_through(error))
            return None


def _count(number: int) -> bytes:
    if not 0 <= number < 1 << 32:
        raise ValueError("no count of 32 bits")
    return varint(number)


def _fields(tag: bytes, encoded: Sequence[bytes]) -> bytes:
    """Return one field for each of what is behind its length already."""
    return tag + tag.join(encoded) if encoded else b""


def _is_empty_list(bounded: Any) -> bool:
    """Whether it is a list of the SDK's kind that has nothing in it, and has dropped nothing."""
    kind: Any = type(bounded)
    if kind is _LIST:
        return not (bounded._dq or bounded.dropped)
    return _is_list(kind) and not (bounded.dropped or len(bounded))


@lru_cache(maxsize=64)
def _is_list(kind: Any) -> bool:
    return issubclass(kind, BoundedList)


def _items(bounded: Any) -> tuple[Sequence[Any], int]:
    """Return events or links, and how many the span has dropped."""
    if type(bounded) is _LIST:
        return list(bounded._dq), bounded.dropped
    if not bounded:
        return (), bounded.dropped if isinstance(bounded, BoundedList) else 0
    return tuple(bounded), bounded.dropped if isinstance(bounded, BoundedList) else 0


def _state(state: TraceState | None) -> bytes:
    if state is None:
        return b""
    return text(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]))


def _known_state(state: TraceState) -> bytes:
    return b"" if state is _NO_STATE else _state(state)


def _status(status: Status | None) -> bytes:
    if status is None:
        return b""
    code: int = status.status_code.value
    encoded = text(b"\x12", status.description) + (b"\x18" + varint(code) if code else b"")
    return b"\x7a" + delimited(encoded)


def _reference(spans: Sequence[ReadableSpan]) -> bytes:
    request: bytes = encode_spans(spans).SerializePartialToString()
    return request


def _by_reference(span: ReadableSpan) -> Any:
    """Return one span as the SDK's encoder makes it: the message."""
    return encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]


def _unusual(key: Any, value: Any) -> list[bytes]:
    """Encode one attribute as the SDK does, which logs what it cannot encode and leaves it out."""
    span = ReadableSpan("", _NOWHERE, resource=_EMPTY, attributes={key: value})
    return [pair.SerializeToString() for pair in _by_reference(span).attributes]

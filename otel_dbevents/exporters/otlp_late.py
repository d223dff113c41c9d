"""Late spans as OTLP: those of plain queries, whose parts nobody has looked at (`bridge.late`).

What such a span says is known from its event and what is above it. So it is encoded from those,
and its parts are never made: what is equal for a statement, and for a parent, is kept as bytes.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.trace import TraceState

from otel_dbevents.exporters.pairs import Pairs

Named: TypeAlias = Callable[[str, int], bytes]
"""Encodes a span's name and kind."""
Stated: TypeAlias = Callable[[TraceState], bytes]
"""Encodes a trace's state."""
_Said: TypeAlias = tuple[Any, Any, Any, bytes, bytes]
"""A statement, its database, who made the span; name and kind, and attributes, as bytes."""

_TIMES: Final = Struct("<BQBQ")
_LOCAL: Final = b"\x7a\x00\x85\x01\x00\x01\x00\x00"
_REMOTE: Final = b"\x7a\x00\x85\x01\x00\x03\x00\x00"
"""A status that says nothing, and the flags."""
_OVERHEAD: Final = 500


class LateSpan(Protocol):
    """A span that says what it says without its parts.

    Another thread may look at it meanwhile: then there is neither event nor above any more, which
    is an `AttributeError`.
    """

    _event: Any
    """The last 8 bytes of its id are the span's id; it has ended at ``end_time_ns``."""
    _above: Any
    """The ``parent``, the trace's ``trace_id`` and ``state``; ``by`` whose ``tracer`` it is."""

    @staticmethod
    def _shared(event: Any, by: Any) -> tuple[str, int, Mapping[str, Any]] | None:
        """Return name, kind, and the attributes of all the statement's spans.

        None where it has to be looked at.
        """

    @staticmethod
    def _own(event: Any) -> Mapping[str, Any]:
        """Return its other attributes."""


def is_late(kind: type) -> bool:
    """Tell whether spans of this class are such."""
    return bool(getattr(kind, "is_plain", False))


class LateSpans:
    """Encodes them. What it keeps is bounded by ``limit`` bytes, roughly."""

    def __init__(self, pairs: Pairs, named: Named, stated: Stated, limit: int = 1 << 20) -> None:
        self._pairs, self._named, self._stated = pairs, named, stated
        self._limit, self._spent = limit, 0
        self._said: dict[tuple[int, int, bool], _Said] = {}

    def batch(self) -> "Batch":
        """Return what encodes those of one batch, for one thread."""
        return Batch(self)

    def said(self, span: LateSpan, event: Any, by: Any) -> _Said | None:
        """Return what a statement's spans say; None where the span has to be looked at."""
        key = id(event.statement), id(event.database), event.batch_size != 1
        known = self._said.get(key)
        if known is not None and known[2] is by:
            return known
        ask = getattr(span, "_shared", None)  # None: another thread looked at it meanwhile
        shared = None if ask is None else ask(event, by)
        if shared is None:
            return None
        name, kind, attributes = shared
        pairs = b"".join([b"\x4a" + pair for pair in self._pairs.of(attributes)])
        self._spent += len(pairs) + _OVERHEAD
        if self._spent > self._limit:
            self._said.clear()
            self._spent = len(pairs) + _OVERHEAD
        known = event.statement, event.database, by, self._named(name, kind), pairs
        self._said[key] = known  # which keeps what it is looked up by
        return known


class Batch:
    """Encodes the late spans of one batch: queries of one parent or statement come together."""

    def __init__(self, spans: LateSpans) -> None:
        self._spans, self._pairs, self._stated = spans, spans._pairs, spans._stated
        self._above: Any = None
        self._head = self._middle = self._end = b""
        self._said: _Said | None = None
        self._batch_size = 0

    def encode(self, span: LateSpan) -> tuple[bytes, Any] | None:
        """Return a span's bytes, and its tracer; None where it has to be looked at."""
        try:
            event, above, own_of = span._event, span._above, span._own
        except AttributeError:  # another thread looked at it: it is a span as any other now
            return None
        if above is not self._above:
            self._go_below(above)
        said = self._said
        if (
            said is None
            or event.statement is not said[0]
            or event.database is not said[1]
            or above.by is not said[2]
            or event.batch_size != self._batch_size
        ):
            said = self._said = self._spans.said(span, event, above.by)
            self._batch_size = event.batch_size
            if said is None:
                return None
        own = self._pairs.of(own_of(event))
        end_ns = event.end_time_ns
        body = (
            self._head,
            event.id[8:],
            self._middle,
            said[3],
            _TIMES.pack(0x39, end_ns - event.duration_ns, 0x41, end_ns),
            said[4],
            b"\x4a" + b"\x4a".join(own) if own else b"",
            self._end,
        )
        return b"".join(body), above.by.tracer

    def _go_below(self, above: Any) -> None:
        """Encode what the spans of one parent have in common."""
        parent = above.parent
        self._above = above
        self._head = b"\x0a\x10" + above.trace_id.to_bytes(16, "big") + b"\x12\x08"
        self._middle, self._end = self._stated(above.state), _LOCAL
        if parent is not None:
            self._middle += b"\x22\x08" + parent[1].to_bytes(8, "big")
            if parent[2]:  # remote
                self._end = _REMOTE

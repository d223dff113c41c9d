"""Pointing: what an event's log record and exemplars point to, as a context only where it is used.

Of the numbers of a batch few become exemplars, and nearly no event has a record. An identity and a
context cost a third of a span, so that a span that was made is known by its event and what it has
from above, until somebody looks.
"""

from typing import Any, Final, TypeAlias

from msgspec import Struct
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""What a context's span is kept by."""
_put: Final[Any] = dict.__setitem__
_new_tuple: Final[Any] = tuple.__new__


class Above(Struct, frozen=True, gc=False):
    """What the spans of one parent have in common; a root's is its own."""

    parent: SpanContext | None
    trace_id: int
    flags: TraceFlags
    state: TraceState
    by: Any
    """Who makes them (`bridge.late`)."""


class Pointer(Struct, frozen=True, gc=False):
    """A span that was made, or dropped, in a context: that of its call."""

    of: Any
    """The span's identity, or the event that has its id."""
    above: Above
    context: Context


Place: TypeAlias = Context | Pointer
"""What to point to."""


def identity_of(event_id: bytes, above: Above) -> SpanContext:
    """Return the identity of an event's span. Its last 8 bytes (`span_id_of`) are none of zeros."""
    span_id = int.from_bytes(event_id[8:], "big")
    made: SpanContext = _new_tuple(
        SpanContext, (above.trace_id, span_id, False, above.flags, above.state, True)
    )
    return made


def context_of(place: Place) -> Context:
    """Return a context that holds the span; of a pointer a copy of its own."""
    if type(place) is not Pointer:
        return place  # type: ignore[return-value]
    of = place.of
    identity = of if type(of) is SpanContext else identity_of(of.id, place.above)
    made = Context(place.context)
    _put(made, KEY, NonRecordingSpan(identity))
    return made

"""Pointing: what an event's log record and exemplars point to, as a context only where it is used.

Of the numbers of a batch few become exemplars, and nearly no event has a record. A context costs a
tenth of a span, so that a span that was made is known by its identity until somebody looks.
"""

from typing import Any, Final, TypeAlias

from msgspec import Struct
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, set_span_in_context

KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""What a context's span is kept by."""
_put: Final[Any] = dict.__setitem__


class Pointer(Struct, frozen=True, gc=False):
    """A span that was made, or dropped, in a context: that of its call."""

    identity: SpanContext
    context: Context


Place: TypeAlias = Context | Pointer
"""What to point to."""


def context_of(place: Place) -> Context:
    """Return a context that holds the span; of a pointer a copy of its own."""
    if type(place) is not Pointer:
        return place  # type: ignore[return-value]
    made = Context(place.context)
    _put(made, KEY, NonRecordingSpan(place.identity))
    return made

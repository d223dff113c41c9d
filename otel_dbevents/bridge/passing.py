"""Passing: plain queries that are told at once, past what is only for a few.

Nearly all queries say nothing out of the ordinary, under a span that has too few of them for a
burst. What is asked for each of them on its way through `Folding`, `Spans` and `Shortcut` is asked
here once for a span of the application, and the rest of it in one piece.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision

from otel_dbevents.bridge.folding import Folding
from otel_dbevents.bridge.late import Late, LateOpening, Opened
from otel_dbevents.bridge.pointing import Pointer
from otel_dbevents.bridge.spans import Spans

Pass: TypeAlias = Callable[[Any, Context], Pointer | None]
"""Makes a query's span, if it has one, and returns what points to it; None: it does not pass."""

_SAMPLE: Final = Decision.RECORD_AND_SAMPLE
_DROP: Final = Decision.DROP
_ANY: Final = 2**63


def passing(spans: Spans, folding: Folding | None) -> Pass | None:
    """Return what queries pass by, until something else is done with either; None: by nothing.

    Called, as is what it returns, while `Folding.lock` is held.
    """
    passage = spans.passage()
    if passage is None:
        return None
    find_above, end, count = passage.above, passage.end, passage.count
    seen = above = under = None
    is_new, is_sampled = True, False
    room = 0
    note: Callable[[Any], None] | None = None

    def look(event: Any, context: Context) -> None:
        """Find out what a span's queries have in common, and how many of them pass."""
        nonlocal seen, above, under, is_new, is_sampled, room, note
        if context is not seen:
            seen, above = context, find_above(context)
            is_sampled = above is not None and bool(above.flags & 1)
        if is_new or event.parent is not under:
            is_new, under = False, event.parent
            room, note = _room(folding, under)

    def pass_on(event: Any, context: Context) -> Pointer | None:
        nonlocal room
        if (
            event.called_from is not None
            or event.attributes is not None
            or event.llm is not None
            or not event.id[8]
        ):
            return None
        if context is not seen or event.parent is not under:
            look(event, context)
        if above is None or room <= 0:
            return None
        room -= 1
        if note is not None:
            note(event)
        if count is not None:
            count((above.parent, _SAMPLE if is_sampled else _DROP))
        if is_sampled:
            span = Late()
            span._event = event
            span._above = above
            end(span)
        return Pointer(event, above, context)

    return pass_on


def opening(spans: Spans) -> Pass | None:
    """Return the same for connections that were opened. Nothing is asked of `Folding`."""
    passage = spans.passage()
    if passage is None:
        return None
    find_above, end, count = passage.above, passage.end, passage.count

    def pass_on(event: Any, context: Context) -> Pointer | None:
        above = find_above(context) if event.duration_ns >= 0 and event.id[8] else None
        if above is None:
            return None
        is_sampled = above.flags & 1
        if count is not None:
            count((above.parent, _SAMPLE if is_sampled else _DROP))
        if is_sampled:
            span = LateOpening()
            end_ns, took_ns = event.end_time_ns, event.duration_ns
            span._event = Opened(event.id, event.database, end_ns, took_ns, event)
            span._above = above
            end(span)
        return Pointer(event, above, context)

    return pass_on


def _room(folding: Folding | None, parent: Any) -> tuple[int, Callable[[Any], None] | None]:
    """Return how many queries pass under a parent, and what notes each of them."""
    if folding is None:
        return _ANY, None
    room, runs = folding.room(parent)
    return room, None if runs is None else runs.append

"""Moments: domain events as Langfuse can show them, which has no place for span events.

Each is a span without length, of the type ``event``, with the facts as JSON for its input: no
literal, no parameter, no driver's message.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from opentelemetry.trace import SpanKind

from otel_dbevents.bridge import attributes as at
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    DatabaseConnectionFailed,
    DatabaseRecovered,
    Event,
    QueryExplained,
    RepeatedQueryDetected,
    RollbackFailed,
    SlowQueryDetected,
)

KIND: Final = SpanKind.INTERNAL
_JUDGEMENTS: Final[Mapping[type[Event], str]] = {
    SlowQueryDetected: "WARNING",
    RepeatedQueryDetected: "WARNING",
    QueryExplained: "DEFAULT",
    DatabaseRecovered: "DEFAULT",
}
_FAILURES: Final = (CommitFailed, RollbackFailed, DatabaseConnectionFailed, CheckoutTimedOut)
_UNSAID: Final = frozenset(
    {"database", "llm", "failure", "holders", "error_message", "query_id", "environment"}
)
_MS: Final = 1_000_000


class Moment(Struct, frozen=True, gc=False):
    """An event's place in time, as far as its span is concerned."""

    event: Event
    id: bytes
    end_time_ns: int
    duration_ns: int = 0


def level_of(event: Event, *, has_span: bool) -> str | None:
    """Return how grave an event is; None for one that has no moment.

    ``has_span``: what failed is shown by its own span, and not a second time.
    """
    if isinstance(event, _FAILURES):
        return None if has_span else "ERROR"
    return _JUDGEMENTS.get(type(event))


def attributes_of(event: Event, level: str) -> dict[str, at.Value]:
    """Return what the span of a moment says."""
    found: dict[str, at.Value] = {
        at.LANGFUSE: True,
        at.OBSERVATION_TYPE: "event",
        at.OBSERVATION_LEVEL: level,
        at.OBSERVATION_INPUT: json.dumps(facts_of(event), ensure_ascii=False),
    }
    database = at.database_of(event)
    if database is not None:
        found[at.METADATA_SYSTEM] = database.system_name.value
    return found


def facts_of(event: Event) -> dict[str, Any]:
    """Return what is particular to an event, times in milliseconds."""
    found: dict[str, Any] = {}
    for name, value in event.payload.items():
        if name in _UNSAID:
            continue
        if name == "statement":
            found["query"] = value["query_text"]
        elif name == "called_from":
            found[name] = f"{value['file_path']}:{value['line_number']}"
        elif name.endswith("_ns"):
            found[name.removesuffix("_ns") + "_ms"] = value / _MS
        else:
            found[name] = value
    failure = getattr(event, "failure", None)
    if failure is not None:
        found["error_type"] = failure.error_type
    return found

"""What the application's own end of the way tells of itself, where there is anything to tell."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec
from opentelemetry.metrics import Observation

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.observables import Observables


class Flow(msgspec.Struct, frozen=True):
    """How events flow out, at one moment."""

    limited: Mapping[str, int] | None = None
    """Events that were counted and not told, by type; None: none are limited."""
    waiting: int = -1
    """Events that wait for Redis; -1: there is none."""
    capacity: int = 0
    """How many may wait."""
    blocked_s: float = 0.0
    """For how long Redis took nothing, in all."""


ReadFlow: TypeAlias = Callable[[], Flow]


def observe(observed: Observables, read: ReadFlow) -> None:
    """Report it at each collection; what there is not has no series."""
    observed.counter(
        "dbevents.events.limited",
        "{event}",
        "Events that have no span and no log record, for OTEL_DBEVENTS_RATE_LIMIT.",
        lambda: [
            Observation(number, {at.EVENT_TYPE: kind})
            for kind, number in (read().limited or {}).items()
        ],
    )
    observed.up_down(
        "dbevents.bus.waiting",
        "{event}",
        "Events that wait for Redis.",
        lambda: [Observation(flow.waiting) for flow in _shipping(read)],
    )
    observed.up_down(
        "dbevents.bus.capacity",
        "{event}",
        "How many events may wait for Redis.",
        lambda: [Observation(flow.capacity) for flow in _shipping(read)],
    )
    observed.counter(
        "dbevents.bus.blocked",
        "s",
        "For how long Redis took nothing.",
        lambda: [Observation(flow.blocked_s) for flow in _shipping(read)],
    )


def _shipping(read: ReadFlow) -> list[Flow]:
    flow = read()
    return [flow] if flow.waiting >= 0 else []

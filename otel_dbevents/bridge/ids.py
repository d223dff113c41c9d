"""Ids: a span's, taken from the event it is made of, so that every process gives it the same."""

import threading

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from otel_dbevents.events import span_id_of, trace_id_of


class EventIds(IdGenerator):
    """Gives the ids of the event at hand to the one span that is started for it.

    So the same event has the same ids in every process. Outside of that (somebody else uses a
    tracer of our name) the ids are random. Safe to be used by many threads.
    """

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._at_hand = threading.local()

    def use(self, event_id: bytes) -> None:
        """Take the next span's ids on this thread from ``event_id``; empty bytes: random again."""
        self._at_hand.event_id = event_id

    def generate_trace_id(self) -> int:
        """Return the event's trace id (128 bits); a random one when no event is at hand."""
        event_id = getattr(self._at_hand, "event_id", b"")
        return trace_id_of(event_id) or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the event's span id (64 bits), once; a random one when no event is at hand."""
        event_id = getattr(self._at_hand, "event_id", b"")
        self._at_hand.event_id = b""
        return span_id_of(event_id) or self._random.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """Say that the last 56 bits of a trace id are random, as an event's are."""
        return True


def take_ids(tracer: object) -> EventIds | None:
    """Have our tracer take its ids from the events; None where the provider has ids of its own.

    An id generator that somebody chose (X-Ray's has times in its ids) is left in charge. A
    provider may hand out one tracer twice, hence the look for ours.
    """
    if not isinstance(tracer, Tracer):
        return None
    if type(tracer.id_generator) is RandomIdGenerator:
        tracer.id_generator = EventIds()
    return tracer.id_generator if isinstance(tracer.id_generator, EventIds) else None

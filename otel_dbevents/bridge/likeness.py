"""Likeness: whether `Shortcut` makes what the SDK at hand makes.

The SDK's spans are made of its private parts, which any version may change. So it is not known
but tried, once in a process: a few spans are made both ways, and must be equal in every field.
Where they are not, or the tracer is another's, spans are started and ended the long way.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    Event,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    Tracer,
    TracerProvider,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.descriptions import Description
from otel_dbevents.bridge.ids import EventIds
from otel_dbevents.bridge.shortcut import Shortcut, Traits
from otel_dbevents.events import Failure
from otel_dbevents.swallowing import told

_KNOWN: Final = frozenset(
    {
        "_instrumentation_scope",
        "_span_limits",
        "_tracer_config",
        "_tracer_metrics",
        "_tracer_provider",
        "id_generator",
        "instrumentation_info",
        "resource",
        "sampler",
        "span_processor",
    }
)
"""What a tracer of the SDK's consists of, as far as it is known what each part is for."""
_ID: Final = bytes(range(1, 17))
_ATTRIBUTES: Final[dict[str, at.Value]] = {"a": "text", "b": 1, "c": 0.5, "d": True}
_MADE_OF_PARTS: Final = (ReadableSpan, BoundedAttributes, SpanLimits, Status, Event, Link)
_APART: Final = frozenset({"_span_processor", "_record_end_metrics"})


class _Ended(Struct):
    """An event, as far as its span is concerned."""

    id: bytes = _ID
    end_time_ns: int = 9
    duration_ns: int = 5


def shortcut(tracer: object) -> Shortcut | None:
    """Return the shortcut to the tracer's spans; None where there is none."""
    if type(tracer) is not Tracer or not vars(tracer).keys() <= _KNOWN:
        return None
    traits = _traits()
    return None if traits is None else Shortcut(tracer, traits)


@lru_cache(maxsize=1)
def _traits() -> Traits | None:
    """Try the SDK; None where its spans are not those that the shortcut makes."""
    try:
        found = _find_traits()
        return found if all(_is_alike(*each, found) for each in _trials()) else None
    except Exception as error:  # noqa: BLE001 - an SDK that is made otherwise may raise anything here
        told("likeness", error)
        return None


def _find_traits() -> Traits:
    seen: list[Any] = []
    _tracer(_Witness(seen)).start_span("", Context()).end()
    fields = seen[0][1]
    return Traits(bool(fields["_context"].trace_flags & 2), fields["_attributes"][1]["_immutable"])


def _trials() -> Iterator[tuple[Context, Description, type["_Witness"]]]:
    state = TraceState([("a", "1")])
    above = [SpanContext(1, 2, flags > 1, TraceFlags(flags), state) for flags in range(4)]
    client, nothing = SpanKind.CLIENT, at.NOTHING_SHARED
    link = Link(SpanContext(3, 3, False), {"a": 1})
    plain = Description("name", client, nothing, _ATTRIBUTES)
    failed = Description("name", client, nothing, {}, Failure("kind", "type", "why"), (link,))
    for parent in (SpanContext(0, 0, False), *above):
        context = set_span_in_context(NonRecordingSpan(parent), Context())
        for witness in (_Witness, _Writer):
            yield context, plain, witness
            yield context, failed, witness


def _is_alike(
    context: Context, said: Description, witness: "type[_Witness]", traits: Traits
) -> bool:
    """Make one span both ways, and compare all that the processors see."""
    ours: list[object] = []
    theirs: list[object] = []
    event = _Ended()
    tracer = _tracer(witness(theirs))
    tracer.id_generator.use(event.id)
    start_ns = event.end_time_ns - event.duration_ns
    span = tracer.start_span(said.name, context, said.kind, said.own, said.links, start_ns)
    if said.failure is not None:
        span.set_status(Status(StatusCode.ERROR, said.failure.description))
    span.end(event.end_time_ns)
    made = Shortcut(_tracer(witness(ours)), traits).record(event, context, lambda _: said)
    if made is None or ours != theirs or said.links:
        return made is not None and ours == theirs
    late: list[object] = []
    by = Shortcut(_tracer(witness(late)), traits, lambda _: said)
    return by.record_plain(event, context) is None or late == theirs


def _tracer(processor: SpanProcessor) -> Any:
    provider = TracerProvider(
        ALWAYS_ON,
        Resource({}),
        False,
        id_generator=EventIds(),
        meter_provider=NoOpMeterProvider(),
    )
    provider.add_span_processor(processor)
    return provider.get_tracer("likeness")


class _Witness(SpanProcessor):
    """Writes down all that a span consists of when it has ended."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def on_end(self, span: object) -> None:
        self.seen.append(_parts(span))


class _Writer(_Witness):
    """Looks at the span while it is open too, and writes on it."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.seen.append((_parts(span), parent_context))
        span.set_attribute("a", 2)
        span.add_event("started", {"a": 1}, 7)


def _look(thing: Any) -> None:
    """Look at a span, which may have no parts before."""
    if isinstance(thing, ReadableSpan):
        thing.get_span_context()


def _parts(thing: Any) -> Any:
    """Return what a thing of the SDK's consists of, as values that can be compared."""
    if isinstance(thing, BoundedList):
        held: Any = thing
        return held.dropped, held._dq.maxlen, [_parts(each) for each in held]
    if isinstance(thing, _MADE_OF_PARTS):
        _look(thing)
        parts = {name: _parts(part) for name, part in vars(thing).items() if name not in _APART}
        return type(thing), parts
    if hasattr(thing, "acquire"):
        return type(thing)
    return dict(thing) if isinstance(thing, dict) else thing

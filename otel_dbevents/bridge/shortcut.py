"""Shortcut: the SDK's spans, without the SDK's long way to them.

Our spans are over before they are made. What the SDK locks, copies, bounds and cleans for a span
that lives is not needed for one that never did: `Shortcut` makes the same objects at once. Where
nobody acts on a span's start (the SDK's own processors do not) the finished span is all that there
is; where somebody does, there is a real open one, which may be written on.

Whatever this cannot do as the SDK would is left to ``start_span``.
"""

from typing import Any, Final

from msgspec import Struct
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.descriptions import Describe, Description
from otel_dbevents.bridge.ids import EventIds
from otel_dbevents.bridge.sampling import LAST_BYTES
from otel_dbevents.bridge.started import Started
from otel_dbevents.bridge.view import View, processors_of, view_of
from otel_dbevents.events import Failure, span_id_of, trace_id_of
from otel_dbevents.swallowing import told


class Traits(Struct, frozen=True, gc=False):
    """In what versions of the SDK differ."""

    has_random_flag: bool
    """A root span's flags say that its trace id is random; a child has its parent's word."""
    freezes: bool
    """The attributes of a span that has ended cannot be changed."""


_START_SPAN: Final = Tracer.start_span
_SPAN: Final[Any] = getattr(sdk, "_Span", None)
_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
_FLAGS: Final = tuple(TraceFlags(number) for number in range(4))
_PLAIN: Final = frozenset({int, float, bool})
_UNSET: Final = Status(StatusCode.UNSET)
_DROP: Final = Decision.DROP
_SAMPLE: Final = Decision.RECORD_AND_SAMPLE


class Shortcut:
    """Makes the spans of one tracer of the SDK's.

    Whether the SDK at hand is one that this can stand in for is the caller's to know
    (`likeness.shortcut`). Safe to be used by many threads.
    """

    def __init__(self, tracer: Any, traits: Traits) -> None:
        self._tracer = tracer
        self._traits = traits
        self._started = Started(tracer)
        self._view: View | None = None
        self.look()

    @property
    def is_open(self) -> bool:
        """Whether spans are made here now; else all of them are left to ``start_span``."""
        return self._view is not None

    def look(self) -> None:
        """Look at what may have changed in the tracer. Called before each batch."""
        tracer, before = self._tracer, self._view
        try:
            is_sdks = Tracer.start_span is _START_SPAN and "start_span" not in vars(tracer)
            self._view = view_of(tracer, before) if is_sdks and tracer._is_enabled() else None
        except Exception as error:  # noqa: BLE001 - a configurator or sampler of anybody's may raise anything
            told("shortcut", error)
            self._view = None

    def settle(self) -> None:
        """Count the spans in the SDK's own metrics. Called after each batch."""
        self._started.settle()

    def record(self, event: Any, context: Context, describe: Describe) -> Context | None:
        """Make the event's span and return a context that holds its identity.

        None: it is one for ``start_span``, and nothing was done. ``describe`` is called only where
        the sampler samples the span, or wants to know what it would say.
        """
        tracer, view = self._tracer, self._view
        if view is not None and (
            view.sampler is not tracer.sampler or view.processors is not processors_of(tracer)
        ):
            self.look()
            view = self._view
        found = get_current_span(context).get_span_context()
        if view is None or type(found) is not SpanContext:
            return None
        parent: SpanContext | None = found
        state: TraceState | None
        trace_id, _, is_remote, flags, state, is_valid = found
        if is_valid:
            verdict = view.verdicts[(3 if is_remote else 1) + (flags & 1)]
        else:
            parent, verdict, state = None, view.verdicts[0], DEFAULT_TRACE_STATE
            trace_id = self._new_trace_id(event)
        decision, said, bounded = _DROP, None, None
        if verdict is None:
            said = describe(event)
            decision, state, bounded = self._ask(context, trace_id, said, view)
        elif trace_id & LAST_BYTES < verdict:
            decision, said = _SAMPLE, describe(event)
        identity = self._identity(event, trace_id, parent, decision, state)
        if said is None or decision is _DROP:
            self._started.add(parent, decision)
        else:
            if bounded is None:
                bounded = _bounded(said, view)
            if view.is_quiet and not said.links:
                self._started.add(parent, decision)
                self._end(event, said, identity, parent, bounded, view)
            else:
                self._live(event, context, said, identity, parent, bounded, decision)
        return Context({**context, _KEY: NonRecordingSpan(identity)})

    def _new_trace_id(self, event: Any) -> int:
        generator = self._tracer.id_generator
        own = trace_id_of(event.id) if type(generator) is EventIds else 0
        return own or int(generator.generate_trace_id())

    def _ask(
        self, context: Context, trace_id: int, said: Description, view: View
    ) -> tuple[Decision, TraceState | None, BoundedAttributes]:
        """Ask a sampler that is not the SDK's own, as the SDK does."""
        result = self._tracer.sampler.should_sample(
            context, trace_id, said.name, said.kind, said.attributes(), said.links
        )
        bounded = BoundedAttributes(view.most, result.attributes, False, view.longest)
        return result.decision, result.trace_state, bounded

    def _identity(
        self,
        event: Any,
        trace_id: int,
        parent: SpanContext | None,
        decision: Decision,
        state: TraceState | None,
    ) -> SpanContext:
        generator = self._tracer.id_generator
        flags = 1 if decision is _SAMPLE else 0
        if type(generator) is EventIds:
            span_id = span_id_of(event.id) or generator.generate_span_id()
        else:
            span_id = generator.generate_span_id()
        if self._traits.has_random_flag:
            if parent is not None:
                flags |= parent[3] & 2
            elif generator.is_trace_id_random():
                flags |= 2
        return SpanContext(trace_id, span_id, False, _FLAGS[flags], state)

    def _end(
        self,
        event: Any,
        said: Description,
        identity: SpanContext,
        parent: SpanContext | None,
        bounded: BoundedAttributes,
        view: View,
    ) -> None:
        """Make a span that has ended, and show it to the processors."""
        tracer, end_ns, failure = self._tracer, event.end_time_ns, said.failure
        if self._traits.freezes:
            bounded._immutable = True
        span = ReadableSpan(
            said.name,
            identity,
            parent,
            tracer.resource,
            bounded,
            BoundedList(view.most_events),
            BoundedList(view.most_links),
            said.kind,
            tracer.instrumentation_info,
            _UNSET if failure is None else _status(failure),
            end_ns - event.duration_ns,
            end_ns,
            tracer._instrumentation_scope,
        )
        tracer.span_processor.on_end(span)

    def _live(
        self,
        event: Any,
        context: Context,
        said: Description,
        identity: SpanContext,
        parent: SpanContext | None,
        bounded: BoundedAttributes,
        decision: Decision,
    ) -> None:
        """Make a span of the SDK's own kind, and let it live: start, then end."""
        tracer, end_ns = self._tracer, event.end_time_ns
        metrics = getattr(tracer, "_tracer_metrics", None)
        ended = None if metrics is None else metrics.start_span(parent, decision)
        span = _SPAN(
            name=said.name,
            context=identity,
            parent=parent,
            sampler=tracer.sampler,
            resource=tracer.resource,
            span_processor=tracer.span_processor,
            kind=said.kind,
            links=said.links,
            instrumentation_info=tracer.instrumentation_info,
            limits=tracer._span_limits,
            instrumentation_scope=tracer._instrumentation_scope,
            record_end_metrics=ended,
        )
        span._attributes = bounded
        span.start(end_ns - event.duration_ns, context)
        if said.failure is not None:
            span.set_status(_status(said.failure))
        span.end(end_ns)


def _status(failure: Failure) -> Status:
    return Status(StatusCode.ERROR, failure.description or None)


def _bounded(said: Description, view: View) -> BoundedAttributes:
    """Return the attributes as a span holds them: cleaned, where they are not known to be clean."""
    longest, most, shared = view.longest, view.most, said.shared
    if (
        (longest is None or shared.longest <= longest)
        and (most is None or len(shared.attributes) + len(said.own) <= most)
        and _are_clean(said.own, longest)
    ):
        made = BoundedAttributes(most, None, False, longest)
        made._dict.update(said.shared.attributes)
        made._dict.update(said.own)
        return made
    return BoundedAttributes(most, said.attributes(), False, longest)


def _are_clean(attributes: dict[str, at.Value], longest: int | None) -> bool:
    """Whether the SDK would keep these as they are."""
    for key, value in attributes.items():
        if type(value) is str:
            if longest is not None and len(value) > longest:
                return False
        elif type(value) not in _PLAIN:
            return False
        if not key or not isinstance(key, str):
            return False
    return True

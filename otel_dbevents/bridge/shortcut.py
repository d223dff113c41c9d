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
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
)

from otel_dbevents.bridge import contents
from otel_dbevents.bridge.descriptions import Describe, Description
from otel_dbevents.bridge.ids import EventIds
from otel_dbevents.bridge.observations import is_chosen, read_rightly
from otel_dbevents.bridge.pointing import KEY, Pointer
from otel_dbevents.bridge.sampling import LAST_BYTES
from otel_dbevents.bridge.started import Started
from otel_dbevents.bridge.view import View, view_of
from otel_dbevents.events import trace_id_of
from otel_dbevents.swallowing import told


class Traits(Struct, frozen=True, gc=False):
    """In what versions of the SDK differ."""

    has_random_flag: bool
    """A root span's flags say that its trace id is random; a child has its parent's word."""
    freezes: bool
    """The attributes of a span that has ended cannot be changed."""


_START_SPAN: Final = Tracer.start_span
_SPAN: Final[Any] = getattr(sdk, "_Span", None)
_HOLDERS: Final = frozenset({NonRecordingSpan, _SPAN})
"""The spans whose identity is read without asking them, as most are."""
_FLAGS: Final = tuple(TraceFlags(number) for number in range(4))
_NOBODYS: Final[tuple[Any, ...]] = (None,) * 7
_new_tuple: Final[Any] = tuple.__new__
_SAMPLE: Final = Decision.RECORD_AND_SAMPLE
_DROP: Final = Decision.DROP


class Shortcut:
    """Makes the spans of one tracer of the SDK's.

    Whether the SDK at hand is one that this can stand in for is the caller's to know
    (`likeness.shortcut`). Safe to be used by many threads.
    """

    def __init__(self, tracer: Any, traits: Traits) -> None:
        self._tracer = tracer
        self._has_random_flag, self._freezes = traits.has_random_flag, traits.freezes
        self._started = Started(tracer)
        self._view: View | None = None
        # The last context with a valid span, the view it was seen by, and what followed: parent,
        # trace id, state, verdict, and the flag of random ids. Most queries share their span.
        self._last = _NOBODYS
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
        """Count the spans in the SDK's own metrics, and hold nothing. Called after each batch."""
        self._last = _NOBODYS
        self._started.settle()

    def begin_anew(self) -> None:
        """Count at nothing in a forked child: what was started before is the parent's."""
        self._started = Started(self._tracer)

    def record(self, event: Any, context: Context, describe: Describe) -> Pointer | None:
        """Make the event's span and return a pointer to it.

        None: it is one for ``start_span``, and nothing was done. ``describe`` is called only where
        the sampler samples the span, or wants to know what it would say.

        It is long, as every query comes by here: a function for each step costs more than the step.
        """
        view, tracer = self._view, self._tracer
        if view is None:
            return None
        multi = tracer.span_processor
        if (
            multi is not view.multi
            or (view.has_many and multi._span_processors is not view.processors)
            or tracer.sampler is not view.sampler
        ):
            self.look()
            view = self._view
            if view is None:
                return None
        generator = tracer.id_generator
        is_events_own = type(generator) is EventIds
        of, seen_by, parent, trace_id, state, verdict, random = self._last
        if of is not context or seen_by is not view:  # it is not the last one's span again
            span: Any = context.get(KEY)
            above: Any = span._context if type(span) in _HOLDERS else _identity_in(context)
            if type(above) is not SpanContext:
                return None
            if above[5]:  # valid; without asking each of its properties
                parent, trace_id, state, random = above, above[0], above[4], above[3] & 2
                verdict = view.verdicts[(3 if above[2] else 1) + (above[3] & 1)]
                self._last = context, view, parent, trace_id, state, verdict, random
            else:
                parent, state, verdict = None, None, view.verdicts[0]
                trace_id = trace_id_of(event.id) if is_events_own else 0
                trace_id = trace_id or int(generator.generate_trace_id())
                is_random = self._has_random_flag and generator.is_trace_id_random()
                random = 2 if is_random else 0
        said = result = None
        if verdict is None:
            said = describe(event)
            result = self._ask(context, trace_id, said)
            decision, state = result.decision, result.trace_state
        else:
            decision = _SAMPLE if trace_id & LAST_BYTES < verdict else _DROP
        flags = 1 if decision is _SAMPLE else 0
        if self._has_random_flag:
            flags |= random
        span_id = int.from_bytes(event.id[8:]) if is_events_own else 0  # `span_id_of`
        if span_id:
            state = DEFAULT_TRACE_STATE if state is None else state
            identity: SpanContext = _new_tuple(
                SpanContext, (trace_id, span_id, False, _FLAGS[flags], state, True)
            )
        else:
            span_id = generator.generate_span_id()
            identity = SpanContext(trace_id, span_id, False, _FLAGS[flags], state)
        if decision is _DROP:
            if self._started.counts:
                self._started.add((parent, decision))
        else:
            if said is None or result is None:
                said = describe(event)
                held = contents.bounded(said, view)
            else:
                held = BoundedAttributes(view.most, result.attributes, False, view.longest)
            if view.is_quiet and not said.links:
                if self._started.counts:
                    self._started.add((parent, decision))
                if self._freezes:
                    held._immutable = True
                span = contents.ended(event, said, held, identity, parent, view, tracer)
                tracer.span_processor.on_end(span)
            else:
                self._live(event, context, parent, said, held, identity, decision)
        return Pointer(identity, context)

    def _ask(self, context: Context, trace_id: int, said: Description) -> SamplingResult:
        """Ask a sampler that is not the SDK's own, as the SDK does."""
        result: SamplingResult = self._tracer.sampler.should_sample(
            context, trace_id, said.name, said.kind, said.attributes(), said.links
        )
        return result

    def _live(
        self,
        event: Any,
        context: Context,
        parent: SpanContext | None,
        said: Description,
        held: BoundedAttributes,
        identity: SpanContext,
        decision: Decision,
    ) -> None:
        """Make a span of the SDK's own kind, start it and end it."""
        tracer = self._tracer
        metrics = getattr(tracer, "_tracer_metrics", None)
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
            record_end_metrics=metrics and metrics.start_span(parent, decision),
        )
        span._attributes = held
        span.start(event.end_time_ns - event.duration_ns, context)
        if is_chosen(said):
            read_rightly(span)
        if said.failure is not None:
            span.set_status(contents.status_of(said.failure))
        span.end(event.end_time_ns)


def _identity_in(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()

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

from otel_dbevents.bridge import contents
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
_HOLDERS: Final = frozenset({NonRecordingSpan, _SPAN})
"""The spans whose identity is read without asking them, as most are."""
_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
_FLAGS: Final = tuple(TraceFlags(number) for number in range(4))
_UNSET: Final = Status(StatusCode.UNSET)
_new_tuple: Final[Any] = tuple.__new__
_put: Final = dict.__setitem__


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

    def begin_anew(self) -> None:
        """Count at nothing in a forked child: what was started before is the parent's."""
        self._started = Started(self._tracer)

    def record(self, event: Any, context: Context, describe: Describe) -> Context | None:
        """Make the event's span and return a context that holds its identity.

        None: it is one for ``start_span``, and nothing was done. ``describe`` is called only where
        the sampler samples the span, or wants to know what it would say.
        """
        view, tracer = self._view, self._tracer
        if view is not None and (
            view.sampler is not tracer.sampler or view.processors is not processors_of(tracer)
        ):
            self.look()
            view = self._view
        above = _identity_in(context)
        if view is None or type(above) is not SpanContext:
            return None
        if above[5]:  # valid; without asking each of its properties
            verdict = view.verdicts[(3 if above[2] else 1) + (above[3] & 1)]
            making = _Making(event, context, view, above, above[0], above[4])
        else:
            verdict = view.verdicts[0]
            making = _Making(event, context, view, None, self._new_trace_id(event), None)
        if verdict is None:
            return self._ask(making, describe(event))
        if making.trace_id & LAST_BYTES < verdict:
            said = describe(event)
            return self._make(
                making, said, contents.bounded(said, view), Decision.RECORD_AND_SAMPLE
            )
        return self._drop(making)

    def _new_trace_id(self, event: Any) -> int:
        generator = self._tracer.id_generator
        own = trace_id_of(event.id) if type(generator) is EventIds else 0
        return own or int(generator.generate_trace_id())

    def _ask(self, making: "_Making", said: Description) -> Context:
        """Ask a sampler that is not the SDK's own, as the SDK does."""
        result = self._tracer.sampler.should_sample(
            making.context, making.trace_id, said.name, said.kind, said.attributes(), said.links
        )
        making.state = result.trace_state
        if result.decision is Decision.DROP:
            return self._drop(making)
        view = making.view
        bounded = BoundedAttributes(view.most, result.attributes, False, view.longest)
        return self._make(making, said, bounded, result.decision)

    def _drop(self, making: "_Making") -> Context:
        if self._started.counts:
            self._started.add(making.parent, Decision.DROP)
        return _holding(self._identity(making, 0), making.context)

    def _make(
        self,
        making: "_Making",
        said: Description,
        bounded: BoundedAttributes,
        decision: Decision,
    ) -> Context:
        identity = self._identity(making, 1 if decision is Decision.RECORD_AND_SAMPLE else 0)
        if making.view.is_quiet and not said.links:
            if self._started.counts:
                self._started.add(making.parent, decision)
            self._tell(making, said, bounded, identity)
        else:
            self._live(making, said, bounded, identity, decision)
        return _holding(identity, making.context)

    def _identity(self, making: "_Making", flags: int) -> SpanContext:
        generator, parent, state = self._tracer.id_generator, making.parent, making.state
        if self._traits.has_random_flag:
            if parent is not None:
                flags |= parent[3] & 2
            elif generator.is_trace_id_random():
                flags |= 2
        span_id = span_id_of(making.event.id) if type(generator) is EventIds else 0
        if not span_id:
            span_id = generator.generate_span_id()
            return SpanContext(making.trace_id, span_id, False, _FLAGS[flags], state)
        if state is None:
            state = DEFAULT_TRACE_STATE
        identity: SpanContext = _new_tuple(
            SpanContext, (making.trace_id, span_id, False, _FLAGS[flags], state, True)
        )
        return identity

    def _tell(
        self,
        making: "_Making",
        said: Description,
        bounded: BoundedAttributes,
        identity: SpanContext,
    ) -> None:
        """Make a span that has ended, and tell the processors of its end."""
        tracer, view, event = self._tracer, making.view, making.event
        if self._traits.freezes:
            bounded._immutable = True
        span = ReadableSpan(
            said.name,
            identity,
            making.parent,
            tracer.resource,
            bounded,
            contents.Unfilled(view.most_events),
            contents.Unfilled(view.most_links),
            said.kind,
            tracer.instrumentation_info,
            _UNSET if said.failure is None else _status(said.failure),
            event.end_time_ns - event.duration_ns,
            event.end_time_ns,
            tracer._instrumentation_scope,
        )
        tracer.span_processor.on_end(span)

    def _live(
        self,
        making: "_Making",
        said: Description,
        bounded: BoundedAttributes,
        identity: SpanContext,
        decision: Decision,
    ) -> None:
        """Make a span of the SDK's own kind, start it and end it."""
        tracer, event = self._tracer, making.event
        metrics = getattr(tracer, "_tracer_metrics", None)
        span = _SPAN(
            name=said.name,
            context=identity,
            parent=making.parent,
            sampler=tracer.sampler,
            resource=tracer.resource,
            span_processor=tracer.span_processor,
            kind=said.kind,
            links=said.links,
            instrumentation_info=tracer.instrumentation_info,
            limits=tracer._span_limits,
            instrumentation_scope=tracer._instrumentation_scope,
            record_end_metrics=metrics and metrics.start_span(making.parent, decision),
        )
        span._attributes = bounded
        span.start(event.end_time_ns - event.duration_ns, making.context)
        if said.failure is not None:
            span.set_status(_status(said.failure))
        span.end(event.end_time_ns)


class _Making(Struct, gc=False):
    """What is known of a span before it is made."""

    event: Any
    context: Context
    view: View
    parent: SpanContext | None
    trace_id: int
    state: TraceState | None


def _identity_in(context: Context) -> SpanContext:
    span: Any = context.get(_KEY)
    if type(span) in _HOLDERS:
        return span._context  # type: ignore[no-any-return]
    return get_current_span(context).get_span_context()


def _holding(identity: SpanContext, context: Context) -> Context:
    """Return a copy of ``context`` that holds a span of this identity."""
    made = Context(context)
    _put(made, _KEY, NonRecordingSpan(identity))
    return made


def _status(failure: Failure) -> Status:
    return Status(StatusCode.ERROR, failure.description or None)

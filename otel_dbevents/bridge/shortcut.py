"""Shortcut: the SDK's spans, without the SDK's long way to them.

Our spans are over before they are made. What the SDK locks, copies, bounds and cleans for a span
that lives is not needed for one that never did: `Shortcut` makes the same objects at once. Where
nobody acts on a span's start (the SDK's own processors do not) the finished span is all that there
is; where somebody does, there is a real open one, which may be written on.

Whatever this cannot do as the SDK would is left to ``start_span``.
"""

import threading
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap
from typing import Any, Final

from msgspec import Struct
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
)

from otel_dbevents.bridge import contents
from otel_dbevents.bridge.descriptions import Describe, Description, describe_query
from otel_dbevents.bridge.late import Late, Maker
from otel_dbevents.bridge.observations import is_chosen, read_rightly
from otel_dbevents.bridge.pointing import KEY, Above, Pointer, identity_of
from otel_dbevents.bridge.sampling import LAST_BYTES
from otel_dbevents.bridge.started import Started
from otel_dbevents.bridge.view import View, view_of
from otel_dbevents.events import span_id_of, trace_id_of
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
_SAMPLE: Final = Decision.RECORD_AND_SAMPLE
_DROP: Final = Decision.DROP


class Seen(Struct, frozen=True, gc=False):
    """A context that was looked at, and what follows for the spans in it."""

    context: Context | None
    above: Above | None
    """None where each span has to be decided on: it is a root, or the sampler is asked."""


_NOTHING: Final = Seen(None, None)


class Passage(Struct, frozen=True, gc=False):
    """What makes the spans of plain queries for who looks at them himself (`bridge.passing`)."""

    above: Callable[[Context], Above | None]
    """Returns what the spans in a context have from above; None: they are for `Shortcut.record`."""
    end: Callable[[Late], None]
    """Takes a span that is sampled."""
    count: Callable[[tuple[SpanContext | None, Decision]], None] | None
    """Counts a span; None where nobody counts."""


class Shortcut:
    """Makes the spans of one tracer of the SDK's.

    Whether the SDK at hand is one that this can stand in for is the caller's to know
    (`likeness.shortcut`). ``describe`` says of a plain query what there is to say. Safe to be used
    by many threads.
    """

    def __init__(self, tracer: Any, traits: Traits, describe: Describe = describe_query) -> None:
        self._tracer = tracer
        self._has_random_flag, self._freezes = traits.has_random_flag, traits.freezes
        self._describe = describe
        self._view: View | None = None
        self._maker: Any = None
        self._lost = 0
        self.begin_anew()
        self.look()

    @property
    def is_open(self) -> bool:
        """Whether spans are made here now; else all of them are left to ``start_span``."""
        return self._view is not None

    def look(self) -> None:
        """Look at what may have changed in the tracer. Called before each batch."""
        tracer, before = self._tracer, self._view
        self._started.look()
        try:
            is_sdks = Tracer.start_span is _START_SPAN and "start_span" not in vars(tracer)
            view = view_of(tracer, before) if is_sdks and tracer._is_enabled() else None
        except Exception as error:  # noqa: BLE001 - a configurator or sampler of anybody's may raise anything
            told("shortcut", error)
            view = None
        if view is before:
            return
        self._hand_over()  # those that ended before are the processors' that were there
        self._view, self._seen = view, _NOTHING
        self._maker = view and Maker(tracer, view, self._freezes, self._describe)

    def settle(self) -> int:
        """Hand over what ended, count in the SDK's own metrics, and hold nothing.

        Called after each batch. Returns how many spans were lost since the last time.
        """
        self._seen = _NOTHING
        self._hand_over()
        self._started.settle()
        lost = self._lost
        self._lost = 0
        return lost

    def begin_anew(self) -> None:
        """Begin at nothing, also in a forked child: what was started before is the parent's."""
        self._started = Started(self._tracer)
        self._seen = _NOTHING
        self._ended: deque[ReadableSpan] = deque()
        self._end = self._ended.append
        self._lost = 0
        # May be taken again by its holder: a processor may flush.
        self._handing = threading.RLock()

    def record_plain(self, event: Any, context: Context) -> Pointer | None:
        """Make the span of a query of which there is only to say what ``describe`` says.

        As `record`, and its parts are made when somebody looks at them. It is in one piece, as
        nearly every query comes by here.
        """
        view, tracer = self._view, self._tracer
        if view is None or not view.is_quiet or not (view.has_event_ids and event.id[8]):
            return None
        multi = tracer.span_processor
        if (
            multi is not view.multi
            or (view.has_many and multi._span_processors is not view.processors)
            or tracer.sampler is not view.sampler
        ):
            return None
        seen = self._seen
        if seen.context is not context:
            seen = self._see(view, context)
        above = seen.above
        if above is None:
            return None
        sampled = above.flags & 1
        if self._started.counts:
            self._started.add((above.parent, _SAMPLE if sampled else _DROP))
        if sampled:
            span = Late()
            span._event = event
            span._above = above
            if view.takers is None:
                multi.on_end(span)
            else:
                self._end(span)
        return Pointer(event, above, context)

    def passage(self) -> "Passage | None":
        """Return how spans are made that nobody sees before all of a batch have ended.

        It holds until something else is done here. None where each has to be looked at.
        """
        view, tracer = self._view, self._tracer
        if (
            view is None
            or view.takers is None
            or not view.has_event_ids
            or tracer.span_processor is not view.multi
            or (view.has_many and view.multi._span_processors is not view.processors)  # type: ignore[attr-defined]
            or tracer.sampler is not view.sampler
        ):
            return None
        counts = self._started.add if self._started.counts else None
        return Passage(lambda context: self._see(view, context).above, self._end, counts)

    def record(self, event: Any, context: Context, describe: Describe) -> Pointer | None:
        """Make the event's span and return a pointer to it.

        None: it is one for ``start_span``, and nothing was done. ``describe`` is called only where
        the sampler samples the span, or wants to know what it would say.
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
        above: Any = _identity_in(context)
        if type(above) is not SpanContext:
            return None
        parent = above if above[5] else None  # valid; without asking each of its properties
        verdict = view.verdicts[0 if parent is None else (3 if above[2] else 1) + (above[3] & 1)]
        trace_id, state, flags = self._trace(view, event, parent)
        said = result = None
        if verdict is None:
            said = describe(event)
            result = self._ask(context, trace_id, said)
            decision, state = result.decision, result.trace_state or DEFAULT_TRACE_STATE
        else:
            decision = _SAMPLE if trace_id & LAST_BYTES < verdict else _DROP
        flags |= 1 if decision is _SAMPLE else 0
        of = Above(parent, trace_id, _FLAGS[flags], state, self._maker)
        if view.has_event_ids and span_id_of(event.id):
            identity = identity_of(event.id, of)
        else:
            span_id = tracer.id_generator.generate_span_id()
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
                if view.takers is not None and decision is _SAMPLE:
                    self._end(span)
                else:
                    multi.on_end(span)
            else:
                self._hand_over()  # what ended before it
                self._live(event, context, parent, said, held, identity, decision)
        return Pointer(identity, of, context)

    def _see(self, view: View, context: Context) -> Seen:
        """Look at a context, and keep what follows: most queries share their span.

        It goes by the places of a span's identity, whose properties are a call each.
        """
        parent, above = _identity_in(context), None
        if type(parent) is SpanContext and parent[5]:  # valid
            trace_id, flags = parent[0], parent[3]
            verdict = view.verdicts[(3 if parent[2] else 1) + (flags & 1)]  # `place_of`
            if verdict is not None:
                number = (flags & 2) if self._has_random_flag else 0
                if trace_id & LAST_BYTES < verdict:
                    number |= 1
                above = Above(parent, trace_id, _FLAGS[number], parent[4], self._maker)
        seen = self._seen = Seen(context, above)
        return seen

    def _trace(
        self, view: View, event: Any, parent: SpanContext | None
    ) -> tuple[int, TraceState, int]:
        """Return the trace's id and state, and the flag that says that its id is random."""
        if parent is not None:
            flags = parent.trace_flags & 2 if self._has_random_flag else 0
            return parent.trace_id, parent.trace_state, flags
        generator = self._tracer.id_generator
        trace_id = trace_id_of(event.id) if view.has_event_ids else 0
        trace_id = trace_id or int(generator.generate_trace_id())
        is_random = self._has_random_flag and generator.is_trace_id_random()
        return trace_id, DEFAULT_TRACE_STATE, 2 if is_random else 0

    def _hand_over(self) -> None:
        """Hand what ended to the processors, in its order."""
        if not self._ended or self._view is None or self._view.takers is None:
            return
        with self._handing:
            spans = list(starmap(self._ended.popleft, repeat((), len(self._ended))))
            for take in self._view.takers:
                try:
                    take(spans)
                except Exception as error:  # noqa: BLE001 - the others must not suffer
                    told("handing over", error)
                    self._lost += len(spans)

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
    span: Any = context.get(KEY)
    if type(span) in _HOLDERS:
        identity: SpanContext = span._context
        return identity
    return get_current_span(context).get_span_context()

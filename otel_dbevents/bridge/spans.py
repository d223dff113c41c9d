"""Spans: a finished span out of an event's own times, ids and captured context.

From outside such a span cannot be told from one made by ``tracer.start_span`` at the time: its
parent, sampler, limits, resource, scope and processors are the provider's. `Spans._make` is the
only place where one comes into being.
"""

from functools import lru_cache, partial
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.descriptions import (
    DESCRIBERS,
    Describe,
    Description,
    describe_query,
    span_context_of,
)
from otel_dbevents.bridge.ids import take_ids
from otel_dbevents.bridge.likeness import shortcut
from otel_dbevents.bridge.moments import Moment
from otel_dbevents.bridge.observations import Observations, is_chosen, read_rightly
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.shortcut import Passage
from otel_dbevents.events import (
    CheckoutTimedOut,
    CommitFailed,
    ConnectionCheckedOut,
    DatabaseConnectionFailed,
    Event,
    QueryExecuted,
    QueryExplained,
    QueryFailed,
    RollbackFailed,
    SlowQueryDetected,
    TraceParent,
    span_id_of,
    trace_id_of,
)

NOWHERE: Final = set_span_in_context(INVALID_SPAN, Context())
"""A context without a span. Not empty: the SDK takes an empty one for the current one."""

_FAILURES: Final = (
    QueryFailed,
    CommitFailed,
    RollbackFailed,
    DatabaseConnectionFailed,
    CheckoutTimedOut,
)


def parent_context(event: Event, context: Context | None) -> Context:
    """Return the captured context; where there is none, one that holds ``event.parent``."""
    if context is not None:
        return context
    return NOWHERE if event.parent is None else _context_of(event.parent)


class Spans:
    """Makes the spans. ``min_duration_ns`` and ``require_parent`` drop spans and nothing else.

    ``min_duration_ns``: calls that took less have no span, unless they failed or took at least
    ``slow_query_ns`` (0: no exception for slow ones). ``require_parent``: nothing that would be a
    trace of its own.
    ``wait_span_ns``: a checkout has a span when its wait, without opening a connection, is as long.
    ``observations`` chooses which of them Langfuse is shown; None: none.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider,
        *,
        min_duration_ns: int = 0,
        require_parent: bool = False,
        slow_query_ns: int = 500_000_000,
        wait_span_ns: int = 1_000_000,
        observations: Observations | None = None,
    ) -> None:
        self._tracer = tracer_provider.get_tracer(at.SCOPE, at.VERSION, at.SCHEMA_URL)
        self._ids = take_ids(self._tracer)
        self._shortcut = shortcut(self._tracer)
        self._least_ns = min(min_duration_ns, slow_query_ns or min_duration_ns)
        self._require_parent = require_parent
        self.wait_span_ns = wait_span_ns
        self._tells_all = self._shortcut is not None and self._least_ns <= 0 and not require_parent
        """Whether each query that went well has a span, which may be made at once."""
        self._observations = observations
        self._describers = {kind: self._in_full(each) for kind, each in DESCRIBERS.items()}
        self._describe_query = self._describers[QueryExecuted]

    @property
    def tells_short(self) -> bool:
        """Whether no call is too short for a span."""
        return self._least_ns <= 0

    @property
    def has_own_ids(self) -> bool:
        """Whether a span's ids are its event's; the provider may have a generator of its own."""
        return self._ids is not None

    def look(self) -> None:
        """Look at the tracer, which may have changed. Called before each batch."""
        if self._shortcut is not None:
            self._shortcut.look()

    def settle(self) -> int:
        """Hand over what ended, and count the spans in the SDK's own metrics.

        Called after each batch. Returns how many spans were lost since the last time.
        """
        return 0 if self._shortcut is None else self._shortcut.settle()

    def begin_anew(self) -> None:
        """Begin at nothing in a forked child."""
        if self._shortcut is not None:
            self._shortcut.begin_anew()

    def passage(self) -> Passage | None:
        """Return how the spans of a batch's plain queries are made; None: by `record`."""
        return self._shortcut.passage() if self._shortcut and self._tells_all else None

    def record(self, event: Event, context: Context) -> Place:
        """Make the event's span, if it has one, and return what points to it.

        Where no span is made that is ``context``. What is returned is meant for the event's log
        record and exemplars.
        """
        if (
            type(event) is QueryExecuted
            and self._tells_all
            and event.called_from is None
            and event.attributes is None
            and event.llm is None
        ):  # the way of nearly all
            made = self._shortcut.record_plain(event, context)  # type: ignore[union-attr]
            if made is not None:
                return made
        if self._observations is not None and event.llm is not None:
            self._record_moment(event, context, self._observations)
        describe = self._describers.get(type(event))
        if describe is not None:
            return self._make(event, context, describe) if self._has_span(event) else context
        if isinstance(event, SlowQueryDetected | QueryExplained):
            return self._judged_query(event, context)
        return context

    def record_folded(
        self, whole: QueryExecuted, context: Context, attributes: at.Attributes
    ) -> Place:
        """Make one span for many queries, which ``whole`` is the sum of; ``attributes`` say so."""
        if not self._has_span(whole):
            return context
        describe = self._in_full(partial(describe_query, more=attributes))
        return self._make(whole, context, describe)

    def is_short(self, event: Any) -> bool:
        """Whether ``min_duration_ns`` drops the span of a call that went well."""
        if type(event) is QueryExecuted:
            return event.duration_ns + event.reading_ns < self._least_ns  # its `spent_ns`
        return bool(event.duration_ns < self._least_ns)

    def _has_span(self, event: Any) -> bool:
        if type(event) is QueryExecuted:
            return self._least_ns <= 0 or not self.is_short(event)
        if isinstance(event, ConnectionCheckedOut):
            return event.duration_ns - event.create_ns >= self.wait_span_ns
        if event.duration_ns < 0:  # it was part of a batch, implied by a close, or is not known
            return False
        return isinstance(event, _FAILURES) or not self.is_short(event)

    def _judged_query(self, event: SlowQueryDetected | QueryExplained, context: Context) -> Context:
        """Return a context that points to the slow query's own span, which was made before."""
        parent = get_current_span(context).get_span_context()
        if self._ids is None or not (parent.is_valid or not self._require_parent):
            return context
        trace_id = parent.trace_id if parent.is_valid else trace_id_of(event.query_id)
        found = SpanContext(trace_id, span_id_of(event.query_id), False, parent.trace_flags)
        return set_span_in_context(NonRecordingSpan(found), context)

    def _in_full(self, describe: Describe) -> Describe:
        """Return a ``describe`` that says what Langfuse is to be shown, too."""
        return describe if self._observations is None else self._observations.describing(describe)

    def _record_moment(self, event: Event, context: Context, observations: Observations) -> None:
        """Make the zero-length span of a domain event, if Langfuse is to be shown it."""
        said = observations.moment_of(event)
        if said is not None:
            moment = Moment(event, event.id, event.time_ns)
            self._make(moment, context, lambda _: said)

    def _make(self, event: Any, context: Context, describe: Describe) -> Place:
        """Make one span: all that is known of it is there when the sampler is asked."""
        if self._require_parent and not get_current_span(context).get_span_context().is_valid:
            return context
        if self._shortcut is not None:
            made = self._shortcut.record(event, context, describe)
            if made is not None:
                return made
        return self._start_and_end(event, context, describe(event))

    def _start_and_end(self, event: Any, context: Context, said: Description) -> Context:
        """Make a span the long way: the tracer may be anybody's."""
        if self._ids is not None:
            self._ids.use(event.id)
        try:
            start_ns = event.end_time_ns - event.duration_ns
            span = self._tracer.start_span(
                said.name, context, said.kind, said.attributes(), said.links, start_ns
            )
        finally:  # a tracer that is switched off takes no id: leave none behind
            if self._ids is not None:
                self._ids.use(b"")
        if is_chosen(said):
            read_rightly(span)
        if said.failure is not None:
            span.set_status(Status(StatusCode.ERROR, said.failure.description or None))
        span.end(event.end_time_ns)
        return set_span_in_context(span, context)


@lru_cache(maxsize=256)
def _context_of(parent: TraceParent) -> Context:
    return set_span_in_context(NonRecordingSpan(span_context_of(parent)), Context())

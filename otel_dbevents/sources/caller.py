"""What the caller's OpenTelemetry context says: which span is current, and whether to be silent."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import DEFAULT_TRACE_STATE, NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace import propagation as trace_propagation

from otel_dbevents.drafts import Span, Within
from otel_dbevents.events import TraceParent

SUPPRESS: str = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
PLAIN: Final = "suppress_instrumentation"
"""What older instrumentations ask for silence with."""


def _current_context() -> Callable[[], Any]:
    """Return what `opentelemetry.context.get_current` comes to: mostly a variable's own ``get``."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is not ContextVarsRuntimeContext:
        return otel_context.get_current
    get: Callable[[], Any] = runtime._current_context.get
    return get


current_context: Final = _current_context()
"""Return the caller's OpenTelemetry context."""


def suppressed(context: Any) -> bool:
    """Whether somebody asked instrumentations to be silent in this context."""
    return bool(context.get(SUPPRESS) or context.get(PLAIN))


SPAN: Final[str | None] = getattr(trace_propagation, "_SPAN_KEY", None)
"""Where `opentelemetry.trace` keeps the current span in a context."""
_last: tuple[Any, TraceParent | None, type[Any]] = (None, None, NonRecordingSpan)
"""The latest span's context, what was made of it, and a type that is known to be a span's."""


def parent_of(context: Any) -> TraceParent | None:
    """Return the span that is current in this context, None where there is none."""
    global _last
    known, parent, kind = _last
    # As `trace.get_current_span` does it, in one frame.
    span = trace.get_current_span(context) if SPAN is None else context.get(SPAN)
    if type(span) is not kind:
        if not isinstance(span, trace.Span):
            return None
        kind = type(span)
    span_context = span.get_span_context()
    if known is not span_context:
        parent = _parent_in(span_context)
        _last = (span_context, parent, kind)
    return parent


def is_recording(context: Any) -> bool:
    """Whether the span that is current in this context can still be written on."""
    span = trace.get_current_span(context) if SPAN is None else context.get(SPAN)
    return span is not None and bool(span.is_recording())


def _is_tuple_as_known() -> bool:
    """Whether a span's context is a tuple whose order is the one that `_parent_in` takes."""
    made: Any = SpanContext(1, 2, False, TraceFlags(1))
    return isinstance(made, tuple) and made[:4] == (1, 2, False, 1) and made[5:] == (True,)


_KNOWN: Final = SpanContext if _is_tuple_as_known() else None


_kind: type[Any] = NonRecordingSpan
"""A type that is known to be a span's."""


def spans_in(contexts: Sequence[Any]) -> Within:
    """Return what `parent_of` these contexts says, where no more is wanted of it.

    In one piece, as every query comes by. Each context is looked at once, and where several in a
    row are the same only the first.
    """
    global _kind
    numbers: list[int] = []
    starts: list[int] = []
    by_context: dict[int, int] = {}
    by_span: dict[Span | None, int] = {None: 0}
    kind, last, begun, number = _kind, None, 0, 0
    for place, context in enumerate(contexts):
        if context is last:
            continue
        if place:
            numbers += [number] * (place - begun)
        starts.append(place)
        last, begun, known = context, place, by_context.get(id(context))
        if known is None:
            found: Span | None = None
            span = trace.get_current_span(context) if SPAN is None else context.get(SPAN)
            if type(span) is kind or isinstance(span, trace.Span):
                kind = type(span)
                found = _fields_in(span.get_span_context())
            known = by_context[id(context)] = by_span.setdefault(found, len(by_span))
        number = known
    numbers += [number] * (len(contexts) - begun)
    _kind = kind
    return Within(numbers, [span for span in by_span if span is not None], starts)


def _parent_in(span_context: Any) -> TraceParent | None:
    fields = _fields_in(span_context)
    return None if fields is None else TraceParent(*fields)


def _fields_in(span_context: Any) -> Span | None:
    if type(span_context) is _KNOWN:  # five properties less, each a call
        trace_id, span_id, _, flags, state, is_valid = span_context
    else:
        trace_id, span_id = span_context.trace_id, span_context.span_id
        flags, state = span_context.trace_flags, span_context.trace_state
        is_valid = span_context.is_valid
    if not is_valid:
        return None
    header = "" if state is DEFAULT_TRACE_STATE or not state else state.to_header()
    # + 0: a plain int, for a quarter of what int() costs
    return trace_id.to_bytes(16), span_id.to_bytes(8), flags + 0, header

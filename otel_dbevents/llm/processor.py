"""The span processor that sees LLM spans start, on as many tracer providers as there are."""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

_OURS: Final = "otel_dbevents"


class Watching(SpanProcessor):
    """Tells of the spans of others that start and end. It exports nothing."""

    silent_for: ClassVar = frozenset({_OURS})
    """The scopes whose spans it has nothing to do with, from their start to their end."""

    def __init__(
        self,
        started: Callable[[Any, Context | None], None],
        ended: Callable[[ReadableSpan], None],
    ) -> None:
        self._tell_started, self._tell_ended = started, ended
        self.is_on = False
        """Whether anybody wants to be told."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell of a span that starts."""
        if self.is_on:
            scope = span.instrumentation_scope
            if scope is None or scope.name != _OURS:
                self._tell_started(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Tell of a span that has ended."""
        if self.is_on:
            self._tell_ended(span)

    def follow(self, provider: Any) -> None:
        """Be told of what a provider's tracers start. Twice is harmless.

        ``provider`` may also be what a provider, or a span, passes on to its processors.
        """
        multi = getattr(provider, "_active_span_processor", provider)
        there = getattr(multi, "_span_processors", None)
        if isinstance(there, tuple) and not any(each is self for each in there):
            multi.add_span_processor(self)

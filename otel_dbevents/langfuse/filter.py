"""The filter by which Langfuse's own client sends the database spans that were chosen for it."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan

from otel_dbevents import ways
from otel_dbevents.compat import langfuse_problem
from otel_dbevents.config import ConfigError

SpanPredicate: TypeAlias = Callable[[ReadableSpan], bool]
"""Whether Langfuse's client exports a span."""

_SCOPE: Final = "otel_dbevents"
_CHOSEN: Final = "dbevents.langfuse"


def langfuse_filter(base: SpanPredicate | None = None) -> SpanPredicate:
    """Return a filter for ``Langfuse(should_export_span=...)``.

    Of our spans it lets through those that ``OTEL_DBEVENTS_LANGFUSE=slow_and_errors`` or ``all``
    have chosen, and ``OTEL_DBEVENTS_LANGFUSE_EVENTS`` made; outside an LLM trace none. All others
    are ``base``'s to judge; where it is not given, Langfuse's own default. Make the first client of
    a public key with it: Langfuse ignores the filter of a second one.

    Raises:
        ConfigError: ``OTEL_DBEVENTS_LANGFUSE_EXPORT`` sends the same spans; or ``base`` is not
            given and the package ``langfuse`` is not there, or older than 4.7.
        TypeError: ``base`` cannot be called.

    """
    if base is not None and not callable(base):
        raise TypeError(f"base takes a function; got {base!r}")
    made = _Filter(_default() if base is None else base)
    try:
        ways.take("filter", made)
    except ways.TwoWaysError as error:
        raise ConfigError(str(error)) from None
    return made


class _Filter:
    """Asks ``base`` about the spans that are not ours. What that raises is Langfuse's to handle."""

    def __init__(self, base: SpanPredicate) -> None:
        self._base = base

    def __call__(self, span: ReadableSpan) -> bool:
        """Whether the span is exported. Asked at its start, and at its end."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != _SCOPE:
            return bool(self._base(span))
        attributes: Any = span.attributes
        return attributes is not None and attributes.get(_CHOSEN) is True


def _default() -> SpanPredicate:
    problem = langfuse_problem()
    if problem:
        raise ConfigError(f"langfuse_filter() has no filter to add to: {problem}, or give it one")
    from langfuse.span_filter import is_default_export_span

    found: SpanPredicate = is_default_export_span
    return found

"""View: what a tracer of the SDK's was like when it was last looked at."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

from otel_dbevents.bridge.attributes import SCOPE
from otel_dbevents.bridge.sampling import Verdicts, verdicts_of

_MULTI: Final = frozenset({SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor})
_ON_START: Final = ("on_start", "_on_ending")
_SILENT: Final = frozenset(
    getattr(kind, name, None)
    for kind in (SpanProcessor, SimpleSpanProcessor, BatchSpanProcessor)
    for name in _ON_START
)


class View(Struct, frozen=True, gc=False):
    """What decides how a span of the tracer is made."""

    multi: object
    """What the tracer tells of its spans."""
    has_many: bool
    """It is one of the SDK's that pass on to ``processors``, which change."""
    processors: object
    sampler: Sampler
    verdicts: Verdicts
    is_quiet: bool
    """Nobody acts on a span that is open: the processors look at the ended one only."""
    most: int | None
    """How many attributes a span may have."""
    longest: int | None
    """How long a text may be in one."""
    most_events: int | None
    most_links: int | None


def view_of(tracer: Any, before: View | None) -> View:
    """Look at the tracer. The sampler that was there ``before`` is not tried again.

    Raises whatever it raises where the tracer is not as the SDK's is.
    """
    multi, sampler, limits = tracer.span_processor, tracer.sampler, tracer._span_limits
    has_many = type(multi) in _MULTI
    processors = multi._span_processors if has_many else multi
    each = processors if isinstance(processors, tuple) else (processors,)
    verdicts = before.verdicts if before and before.sampler is sampler else verdicts_of(sampler)
    return View(
        multi,
        has_many,
        processors,
        sampler,
        verdicts,
        _are_quiet(each),
        limits.max_span_attributes,
        limits.max_span_attribute_length,
        limits.max_events,
        limits.max_links,
    )


def _are_quiet(processors: Sequence[object]) -> bool:
    """Whether no processor does anything with an open span of ours, as the SDK's own do not."""
    return all(_is_silent(each) for each in processors)


def _is_silent(processor: object) -> bool:
    if SCOPE in getattr(type(processor), "silent_for", ()):  # one of ours, for others' spans
        return True
    return all(
        getattr(type(processor), name, None) in _SILENT
        and name not in getattr(processor, "__dict__", {})
        for name in _ON_START
    )

"""View: what a tracer of the SDK's was like when it was last looked at."""

from typing import Any, Final, TypeAlias

from msgspec import Struct
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

from otel_dbevents.bridge.attributes import SCOPE
from otel_dbevents.bridge.handing import Take, takers_of
from otel_dbevents.bridge.ids import EventIds
from otel_dbevents.bridge.sampling import Verdicts, verdicts_of

_MULTI: Final = frozenset({SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor})
_NAMES: Final = ("on_start", "_on_ending", "on_end")
_SILENT: Final = frozenset(
    getattr(kind, name, None)
    for kind in (SpanProcessor, SimpleSpanProcessor, BatchSpanProcessor)
    for name in _NAMES[:2]
)
"""What does nothing with an open span, as the SDK's own processors do not."""
_NO_PARTS: Final[dict[str, Any]] = {}
Acts: TypeAlias = tuple[Any, ...]


class View(Struct, frozen=True, gc=False):
    """What decides how a span of the tracer is made."""

    multi: object
    """What the tracer tells of its spans."""
    has_many: bool
    """It is one of the SDK's that pass on to ``processors``, which change."""
    processors: object
    acts: tuple[Acts, ...]
    """What each of them does."""
    limits: object
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
    generator: object
    has_event_ids: bool
    """A span's ids are its event's."""
    takers: tuple[Take, ...] | None
    """What takes many ended spans at once; None where each must be told by itself."""


def view_of(tracer: Any, before: View | None) -> View:
    """Look at the tracer; return ``before`` where nothing has changed.

    The sampler that was there before is not tried again. Raises whatever it raises where the tracer
    is not as the SDK's is.
    """
    multi, sampler, limits = tracer.span_processor, tracer.sampler, tracer._span_limits
    has_many = type(multi) in _MULTI
    processors = multi._span_processors if has_many else multi
    each = processors if isinstance(processors, tuple) else (processors,)
    each = tuple(one for one in each if not _is_for_others(one))
    acts, generator = tuple(map(_acts_of, each)), tracer.id_generator
    if (
        before is not None
        and multi is before.multi
        and processors is before.processors
        and sampler is before.sampler
        and limits is before.limits
        and generator is before.generator
        and acts == before.acts
    ):
        return before
    is_quiet = all(act in _SILENT for each_acts in acts for act in each_acts[:2])
    is_plain = type(multi) is SynchronousMultiSpanProcessor and "on_end" not in vars(multi)
    return View(
        multi,
        has_many,
        processors,
        acts,
        limits,
        sampler,
        before.verdicts if before and before.sampler is sampler else verdicts_of(sampler),
        is_quiet,
        limits.max_span_attributes,
        limits.max_span_attribute_length,
        limits.max_events,
        limits.max_links,
        generator,
        type(generator) is EventIds,
        takers_of(each) if is_quiet and is_plain else None,
    )


def _is_for_others(processor: object) -> bool:
    """Whether it is one of ours, for others' spans: it does nothing with one of these."""
    return SCOPE in getattr(type(processor), "silent_for", ())


def _acts_of(processor: Any) -> Acts:
    """Return what a processor does when a span starts, is about to end, and has ended."""
    kind = type(processor)
    acts: Acts = (
        getattr(kind, "on_start", None),
        getattr(kind, "_on_ending", None),
        getattr(kind, "on_end", None),
    )
    own = getattr(processor, "__dict__", _NO_PARTS)
    if own.keys().isdisjoint(_NAMES):
        return acts
    return tuple(own.get(name, act) for name, act in zip(_NAMES, acts, strict=True))

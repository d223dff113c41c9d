"""What a provider of the SDK's has telemetry go through, and what is lost there."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class Counting:
    """A stage that counts what it loses."""

    signal: ClassVar[str]
    """What stands before the reasons of its losses, where they are counted together."""

    @property
    def lost(self) -> Mapping[str, int]:
        """How many were lost, by reason."""
        raise NotImplementedError


def exporters_of(provider: Any) -> Iterator[Any]:
    """Find a provider's exporters; what is not found is left alone."""
    for stage in stages_of(provider):
        exporter = at(stage, "_batch_processor", "_exporter") or at(stage, "_exporter")
        if exporter is not None:
            yield exporter


def stages_of(provider: Any) -> tuple[Any, ...]:
    """Find a provider's processors and readers. The SDK has no public way."""
    spans = at(provider, "_active_span_processor", "_span_processors")
    records = at(provider, "_multi_log_record_processor", "_log_record_processors")
    readers = at(provider, "_metric_readers") or at(provider, "_sdk_config", "metric_readers")
    return (*(spans or ()), *(records or ()), *(readers or ()))


def at(thing: Any, *path: str) -> Any:
    """Follow attributes; None where one of them is not there."""
    for name in path:
        thing = getattr(thing, name, None)
    return thing


def lost(*providers: Any) -> Mapping[str, int]:
    """Return how much was lost on the way out of these providers, by reason.

    The reasons begin with ``span_``, ``log_`` or ``langfuse_``. Only processors that
    `ensure_providers` made, and those of `exporters.processors` that the application added itself,
    count what they lose.
    """
    counts: Counter[str] = Counter()
    for provider in providers:
        for stage in stages_of(provider):
            if isinstance(stage, Counting):
                counts.update({f"{stage.signal}_{why}": n for why, n in stage.lost.items()})
    return dict(counts)

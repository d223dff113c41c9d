"""Started: the spans in the SDK's own metrics (``otel.sdk.span.started`` and ``.live``).

Where the SDK counts its spans, ours are counted by its own code; a whole batch at once.
"""

from collections import deque
from contextlib import suppress
from copy import copy
from typing import Any, Final, TypeAlias

from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext

_DROP: Final = Decision.DROP
_RECORD: Final = Decision.RECORD_ONLY
_Kind: TypeAlias = tuple[bool | None, bool, bool]
"""The parent is remote (None: there is none); dropped; recorded only."""


class Started:
    """Keeps in mind what spans there were until `settle`. Safe to be used by many threads."""

    def __init__(self, tracer: Any) -> None:
        self._metrics: Any = getattr(tracer, "_tracer_metrics", None)
        self.counts: bool = bool(_instruments(self._metrics))
        """Whether the SDK counts its spans; where it does not, `add` need not be called."""
        self._spans: deque[tuple[SpanContext | None, Decision]] = deque()

    def add(self, parent: SpanContext | None, decision: Decision) -> None:
        """Count a span that was started and ended, or dropped."""
        self._spans.append((parent, decision))

    def settle(self) -> None:
        """Hand the counts to the SDK."""
        numbers: dict[_Kind, int] = {}
        examples: dict[_Kind, tuple[SpanContext | None, Decision]] = {}
        with suppress(IndexError):  # another thread may settle some of them
            while self._spans:
                span = parent, decision = self._spans.popleft()
                remote = None if parent is None else parent[2]
                kind = remote, decision is _DROP, decision is _RECORD
                numbers[kind] = numbers.get(kind, 0) + 1
                examples[kind] = span
        for kind, (parent, decision) in examples.items():
            _times(self._metrics, numbers[kind]).start_span(parent, decision)()


class _Times:
    """An instrument that adds several times what it is told to."""

    def __init__(self, instrument: Any, number: int) -> None:
        self._instrument, self._number = instrument, number

    def add(self, amount: int, *arguments: Any, **options: Any) -> None:
        self._instrument.add(amount * self._number, *arguments, **options)


def _instruments(metrics: object) -> dict[str, Any]:
    """Return the instruments there; none where the SDK does not count."""
    found = getattr(metrics, "__dict__", {})
    return {
        name: value
        for name, value in found.items()
        if hasattr(value, "add") and not type(value).__name__.startswith("NoOp")
    }


def _times(metrics: Any, number: int) -> Any:
    several = copy(metrics)
    for name, instrument in _instruments(metrics).items():
        setattr(several, name, _Times(instrument, number))
    return several

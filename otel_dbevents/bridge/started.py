"""Started: the spans in the SDK's own metrics (``otel.sdk.span.started`` and ``.live``).

Where the SDK counts its spans, ours are counted by its own code; a whole batch at once.
"""

from collections import Counter, deque
from copy import copy
from typing import Any

from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext


class Started:
    """Keeps in mind what spans there were until `settle`. Safe to be used by many threads."""

    def __init__(self, tracer: Any) -> None:
        self._metrics: Any = getattr(tracer, "_tracer_metrics", None)
        self._counts = bool(_instruments(self._metrics))
        self._spans: deque[tuple[SpanContext | None, Decision]] = deque()

    def add(self, parent: SpanContext | None, decision: Decision) -> None:
        """Count a span that was started and ended, or dropped."""
        if self._counts:
            self._spans.append((parent, decision))

    def settle(self) -> None:
        """Hand the counts to the SDK."""
        spans = self._spans
        if not spans:
            return
        numbers: Counter[tuple[bool, bool, Decision]] = Counter()
        parents: dict[tuple[bool, bool, Decision], SpanContext | None] = {}
        for _ in range(len(spans)):
            try:
                parent, decision = spans.popleft()
            except IndexError:  # another thread settled the rest
                break
            key = parent is not None, parent is not None and parent.is_remote, decision
            numbers[key] += 1
            parents[key] = parent
        for key, number in numbers.items():
            _times(self._metrics, number).start_span(parents[key], key[2])()


class _Times:
    """An instrument that adds several times what it is told to."""

    def __init__(self, instrument: Any, number: int) -> None:
        self._instrument, self._number = instrument, number

    def add(self, amount: int, *arguments: Any, **options: Any) -> None:
        self._instrument.add(amount * self._number, *arguments, **options)


def _instruments(metrics: object) -> dict[str, Any]:
    """Return the instruments there; none where the SDK does not count."""
    found = getattr(metrics, "__dict__", {})
    return {name: value for name, value in found.items() if hasattr(value, "add")}


def _times(metrics: Any, number: int) -> Any:
    several = copy(metrics)
    for name, instrument in _instruments(metrics).items():
        setattr(several, name, _Times(instrument, number))
    return several

"""Started: the spans in the SDK's own metrics (``otel.sdk.span.started`` and ``.live``).

Where the SDK counts its spans, ours are counted by its own code; a whole batch at once.
"""

from collections import deque
from collections.abc import Callable
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
        self._instruments = tuple(_instruments(self._metrics).values())
        self.counts = False
        """Whether the SDK counts its spans; where it does not, `add` need not be called."""
        self.look()
        self._spans: deque[tuple[SpanContext | None, Decision]] = deque()
        self.add: Callable[[tuple[SpanContext | None, Decision]], None] = self._spans.append
        """Counts a span, by its parent and the decision, that was started and ended, or dropped."""

    def look(self) -> None:
        """See whether the SDK counts, which it may begin to do. Called before each batch."""
        self.counts = any(map(_is_real, self._instruments))

    def settle(self) -> None:
        """Hand the counts to the SDK."""
        if not self._spans:
            return
        numbers: dict[_Kind, int] = {}
        examples: dict[_Kind, tuple[SpanContext | None, Decision]] = {}
        with suppress(IndexError):  # another thread may settle some of them
            last: tuple[SpanContext | None, Decision] | None = None
            kind: _Kind = None, False, False
            while self._spans:
                span = parent, decision = self._spans.popleft()
                if last is not None and parent is last[0] and decision is last[1]:
                    numbers[kind] += 1  # as most are: one span's queries come together
                    continue
                last = span
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


def _is_real(instrument: object) -> bool:
    """Whether it counts: one of the API's stand-ins does not, as long as there is no provider."""
    return getattr(instrument, "_real_instrument", instrument) is not None


def _times(metrics: Any, number: int) -> Any:
    several = copy(metrics)
    for name, instrument in _instruments(metrics).items():
        setattr(several, name, _Times(instrument, number))
    return several

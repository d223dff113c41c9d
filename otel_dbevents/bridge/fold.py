"""One fold: queries that are held back, added up to what their one span says."""

from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.trace import Span, get_current_span

from otel_dbevents.bridge import attributes as at
from otel_dbevents.events import CodeLocation, QueryExecuted

_QUIET_SECONDS: Final = 1.0
_PLAIN: Final = (str, int, float, bool, bytes)
_BAGGAGE: Final = (dict, MappingProxyType)


class Fold:
    """The queries that are held back, added up."""

    __slots__ = (
        "called_from",
        "context",
        "count",
        "duration_ns",
        "end_ns",
        "first",
        "last_at",
        "longest_ns",
        "reading_ns",
        "rows",
        "shortest_ns",
        "start_ns",
    )

    def __init__(self, first: QueryExecuted, context: Context) -> None:
        self.first = first
        self.context = context
        self.count = 0
        self.start_ns = self.end_ns = first.end_time_ns
        self.duration_ns = self.longest_ns = self.reading_ns = 0
        self.shortest_ns = first.duration_ns
        self.rows = 0
        """-1 where one of them does not say how many it read."""
        self.called_from: CodeLocation | None = None
        self.add(first)

    def takes(self, event: QueryExecuted, context: Context) -> bool:
        """Whether the span of this query would say what the first one's would."""
        first = self.first
        return (
            event.attributes == first.attributes
            and (event.llm is first.llm or event.llm == first.llm)
            and (context is self.context or same(context, self.context))
        )

    def add(self, event: QueryExecuted) -> None:
        """Add a query. They may come in another order than they ran."""
        duration_ns, rows, end_ns = event.duration_ns, event.returned_rows, event.end_time_ns
        self.rows = self.rows + rows if rows >= 0 and self.rows >= 0 else -1
        self.count += 1
        self.duration_ns += duration_ns
        self.reading_ns += event.reading_ns
        # Compared by hand: each query that folds comes by here, and `min` is dearer than the rest.
        if end_ns - duration_ns < self.start_ns:
            self.start_ns = end_ns - duration_ns
        if end_ns > self.end_ns:
            self.end_ns = end_ns
        if duration_ns < self.shortest_ns:
            self.shortest_ns = duration_ns
        if duration_ns > self.longest_ns:
            self.longest_ns = duration_ns
        if self.called_from is None:
            self.called_from = event.called_from
        self.last_at = monotonic()

    def is_over(self, now: float) -> bool:
        """Whether no more is to be expected: the span above has ended, or it is quiet."""
        ended = getattr(get_current_span(self.context), "end_time", None)
        return ended is not None or now - self.last_at >= _QUIET_SECONDS

    def whole(self) -> QueryExecuted:
        """Return them as one query: from the first one's start to the last one's end."""
        return replace(
            self.first,
            end_time_ns=self.end_ns,
            duration_ns=self.end_ns - self.start_ns,
            returned_rows=self.rows,
            reading_ns=self.reading_ns,
            called_from=self.called_from,
        )

    def attributes(self) -> dict[str, at.Value]:
        """Return what only a folded span says. Times in seconds."""
        return {
            at.FOLDED_COUNT: self.count,
            at.FOLDED_DURATION: self.duration_ns / 1e9,
            at.FOLDED_SHORTEST: self.shortest_ns / 1e9,
            at.FOLDED_LONGEST: self.longest_ns / 1e9,
        }


def same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two contexts hold the same.

    Spans are told apart by their ids. Beside them only plain values are asked if they are equal,
    those in baggage too: what others do when they are compared is not known.
    """
    if one is other:
        return True
    return len(one) == len(other) and all(
        name in other and _equal(value, other[name]) for name, value in one.items()
    )


def _equal(one: object, other: object) -> bool:
    if one is other:
        return True
    if isinstance(one, Span) and isinstance(other, Span):
        return one.get_span_context() == other.get_span_context()
    if isinstance(one, _BAGGAGE) and isinstance(other, _BAGGAGE):
        return same(one, other)
    return type(one) in _PLAIN and type(one) is type(other) and one == other

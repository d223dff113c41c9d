"""Finished spans as trees of lines: who called what, with equal siblings in a row made one line.

A span may itself stand for many queries (`otel_dbevents.bridge.folding`): then it counts as many.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan

Children: TypeAlias = dict[int, list[ReadableSpan]]
FEWEST_TO_FOLD = 4
FOLDED = "dbevents.folded."


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a tree: a span, or a row of equal ones."""

    branch: str
    spans: Sequence[ReadableSpan]

    @property
    def span(self) -> ReadableSpan:
        """The span, or the first of the row."""
        return self.spans[0]

    @property
    def start_ns(self) -> int:
        """When the first span started."""
        return started(self.span)

    @property
    def end_ns(self) -> int:
        """When the last span ended."""
        return max(map(ended, self.spans))

    @property
    def count(self) -> int:
        """How often it was done: once in each span, but where it says that it is folded."""
        return sum(int(attributes(span).get(FOLDED + "count", 1)) for span in self.spans)

    @property
    def duration_ns(self) -> int:
        """How long it took, added up."""
        return sum(_took(span, "duration") for span in self.spans)

    @property
    def longest_ns(self) -> int:
        """How long it took when it took longest."""
        return max(_took(span, "longest") for span in self.spans)

    def total(self, attribute: str) -> int:
        """Return the sum of an attribute over the spans; 0 where none has it."""
        return sum(int(attributes(span).get(attribute, 0)) for span in self.spans)


def started(span: ReadableSpan) -> int:
    """Return when a span started, in nanoseconds since the epoch."""
    return span.start_time or 0


def ended(span: ReadableSpan) -> int:
    """Return when a span ended, in nanoseconds since the epoch."""
    return span.end_time or started(span)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def _took(span: ReadableSpan, folded: str) -> int:
    """Return a span's duration; of a folded one, which has pauses in it, what it says of that."""
    seconds = attributes(span).get(FOLDED + folded)
    return ended(span) - started(span) if seconds is None else round(seconds * 1e9)


def trace_id(span: ReadableSpan) -> str:
    """Return a span's trace id, in hexadecimal digits."""
    return f"{span.context.trace_id:032x}"


def by_trace(spans: Iterable[ReadableSpan]) -> dict[str, list[ReadableSpan]]:
    """Return the spans of each trace; the traces and their spans in the order they started."""
    traces: dict[str, list[ReadableSpan]] = defaultdict(list)
    for span in sorted(spans, key=started):
        traces[trace_id(span)].append(span)
    return dict(traces)


def lines(trace: Sequence[ReadableSpan]) -> list[Line]:
    """Return one trace as lines, from the top down."""
    known = {span.context.span_id for span in trace}
    children: Children = defaultdict(list)
    for span in trace:
        parent = span.parent.span_id if span.parent else 0
        children[parent if parent in known else 0].append(span)
    return [line for root in children[0] for line in _below([root], children, "", "")]


def _below(
    spans: Sequence[ReadableSpan], children: Children, branch: str, indent: str
) -> Iterator[Line]:
    yield Line(branch, spans)
    rows = _rows(children.get(spans[0].context.span_id, ()), children)
    for number, row in enumerate(rows, start=1):
        last = number == len(rows)
        corner, margin = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _below(row, children, indent + corner, indent + margin)


def _rows(siblings: Sequence[ReadableSpan], children: Children) -> list[Sequence[ReadableSpan]]:
    """Put equal siblings that follow each other into one row, when they are many."""
    rows: list[Sequence[ReadableSpan]] = []
    for _, group in groupby(siblings, key=lambda span: _likeness(span, children)):
        run = list(group)
        rows += [run] if len(run) >= FEWEST_TO_FOLD else [[span] for span in run]
    return rows


def _likeness(span: ReadableSpan, children: Children) -> object:
    """Return what spans of a row have in common; a span with children is like no other."""
    if span.context.span_id in children:
        return span.context.span_id
    return span.name, span.kind, span.status.status_code

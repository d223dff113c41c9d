"""Spans in whatever order they come, put together as traces, in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from otel_dbevents.report.model import Span

MOST_SPANS: Final = 100_000
"""So many are held; then the trace that has waited longest for another is taken as it is."""


class Traces:
    """Gathers traces. A span that was sent twice is there once."""

    def __init__(self, most: int = MOST_SPANS) -> None:
        self._most = most
        self._held: OrderedDict[str, dict[str, Span]] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._count = 0
        self.spans = 0
        """How many spans have come."""
        self.late = 0
        """How many of them came when their trace had been given up, and were left out."""

    def gather(self, spans: Iterable[Span]) -> Iterator[list[Span]]:
        """Return each trace's spans: what is too much as soon as it is, all else at the end."""
        for span in spans:
            self._add(span)
            while self._count > self._most:
                yield self._give_up()
        while self._held:
            yield self._give_up()

    def _add(self, span: Span) -> None:
        self.spans += 1
        if span.trace_id in self._gone:
            self.late += 1
            return
        trace = self._held.setdefault(span.trace_id, {})
        self._held.move_to_end(span.trace_id)
        self._count += span.span_id not in trace
        trace[span.span_id] = span

    def _give_up(self) -> list[Span]:
        trace_id, trace = self._held.popitem(last=False)
        self._count -= len(trace)
        self._gone[trace_id] = None
        if len(self._gone) > self._most:
            self._gone.popitem(last=False)
        return list(trace.values())

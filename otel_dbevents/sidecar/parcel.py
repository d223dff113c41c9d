"""Parcel: what is to be sent at once, until every exporter has taken its part.

In: spans, log records, metrics. Out: calls of exporters, whose answers are looked at: what one has
taken is not sent to it again, what it has not is. What a collector refuses for good (it says that
the request itself is wrong) is halved until the guilty item is alone, and left out. Where it takes
a request but for some items, those are left out too, and which they are it does not say.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from opentelemetry.sdk.metrics.export import MetricsData

from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Made


class _Part(msgspec.Struct):
    """Items of one signal for one exporter."""

    signal: str
    exporter: Any
    items: Sequence[Any]
    wrap: Callable[[Sequence[Any]], Any]
    """Makes of items what the exporter takes."""


class Parcel:
    """One lot of telemetry on its way. `send` may be called until it returns True."""

    def __init__(self, made: Made, outlets: Outlets) -> None:
        self.taken: Counter[str] = Counter()
        """How many items were taken, by signal: by its first exporter, where it has several. Of
        metrics: sets."""
        self.refused: Counter[str] = Counter()
        """How many items were refused for good, by signal: of metrics whole sets that were, and
        points that the rest was taken without."""
        self.words = ""
        """What the collector said of that last, or which span it refused last."""
        self._outlets = outlets
        self._left = [
            _Part(signal, exporter, items, wrap)
            for signal, items, wrap in (
                ("traces", made.spans, list),
                ("logs", made.records, list),
                ("metrics", made.metrics, _metrics),
            )
            for exporter in outlets.of(signal)
            if items
        ]

    def send(self, beat: Callable[[], object] = bool) -> bool:
        """Send what was not taken yet; False when something was not taken, and must wait.

        ``beat`` is called before each call of an exporter, which may take its time.
        """
        while self._left:
            beat()
            part = self._next()
            answer = self._outlets.send(part.exporter, part.wrap(part.items))
            if answer == "later":
                return False
            self._left.pop(0)
            if answer == "refused":
                self._halve(part)
            else:
                self._count(part, self._outlets.last.rejected)
            self.words = self._outlets.last.words or self.words
        return True

    def _next(self) -> _Part:
        """Return what is to be sent next: as much of the first as may be sent at once."""
        part = self._left[0]
        most = self._outlets.most(part.exporter)
        if len(part.items) > most:
            self._left[:1] = [
                _Part(part.signal, part.exporter, items, part.wrap)
                for items in (part.items[:most], part.items[most:])
            ]
        return self._left[0]

    @property
    def waits_for(self) -> str:
        """The signal that was not taken."""
        return self._left[0].signal if self._left else ""

    @property
    def was_answered(self) -> bool:
        """Whether a collector took or refused something of it: there may have been nothing."""
        return bool(self.taken or self.refused)

    def _count(self, part: _Part, rejected: int) -> None:
        if rejected:
            self.refused[part.signal] += rejected
        if part.exporter is self._outlets.of(part.signal)[0]:
            without = 0 if part.signal == "metrics" else rejected  # of points, not of sets
            self.taken[part.signal] += max(0, len(part.items) - without)

    def _halve(self, part: _Part) -> None:
        self._outlets.was_too_large(part.exporter, len(part.items))
        if len(part.items) == 1:
            self.refused[part.signal] += 1
            if part.signal == "traces":
                context = part.items[0].get_span_context()
                self.words = f"span {context.span_id:016x} of trace {context.trace_id:032x}"
            return
        middle = len(part.items) // 2
        for items in (part.items[middle:], part.items[:middle]):
            self._left.insert(0, _Part(part.signal, part.exporter, items, part.wrap))


def _metrics(items: Sequence[Any]) -> MetricsData:
    return MetricsData(resource_metrics=items)

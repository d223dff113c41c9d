"""Parcel: what is to be sent at once, until every exporter has taken its part.

In: spans, log records, metrics. Out: calls of exporters, whose answers are looked at: what one has
taken is not sent to it again, what it has not is.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricsData

from otel_dbevents.sidecar.tellers import Made
from otel_dbevents.swallowing import told

MOST_AT_ONCE: Final = 512
_log = logging.getLogger("otel_dbevents.sidecar")


class Outlets:
    """The exporters, by signal: ``traces``, ``metrics``, ``logs``; each may have several or none.

    They are called by one thread; their answer is read as the SDK's.
    """

    def __init__(self, exporters: Mapping[str, Sequence[Any]]) -> None:
        self._exporters = exporters

    def of(self, signal: str) -> Sequence[Any]:
        """Return a signal's exporters."""
        return self._exporters.get(signal, ())

    @property
    def preferences(self) -> tuple[Any, Any]:
        """Temporality and aggregation as the exporter of metrics wants them; None: the SDK's."""
        for each in self.of("metrics"):
            temporality = getattr(each, "_preferred_temporality", None)
            return temporality, getattr(each, "_preferred_aggregation", None)
        return None, None

    def abort(self) -> None:
        """Have the exporters give up what they are trying. From any thread."""
        for those in self._exporters.values():
            for each in those:
                try:
                    each.shutdown()
                except Exception as error:  # noqa: BLE001 - the process ends
                    told("sidecar exporter", error)


class Parcel:
    """One lot of telemetry on its way. `send` may be called until it returns True."""

    def __init__(self, made: Made, outlets: Outlets) -> None:
        self.spans, self.records = len(made.spans), len(made.records)
        self._left = [
            (signal, exporter, part)
            for signal, parts in (
                ("traces", _parts(made.spans)),
                ("logs", _parts(made.records)),
                ("metrics", _numbers(made.metrics)),
            )
            for part in parts
            for exporter in outlets.of(signal)
        ]

    def send(self) -> bool:
        """Send what was not taken yet; False when something was not taken again."""
        while self._left:
            _, exporter, part = self._left[0]
            if not _is_taken(exporter, part):
                return False
            self._left.pop(0)
        return True

    @property
    def waits_for(self) -> str:
        """The signal that was not taken."""
        return self._left[0][0] if self._left else ""


def _is_taken(exporter: Any, part: Any) -> bool:
    try:
        return getattr(exporter.export(part), "name", "") != "FAILURE"
    except Exception as error:  # noqa: BLE001 - whatever an exporter raises, it has not taken it
        told("sidecar exporter", error)
        return False


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), MOST_AT_ONCE):
        yield items[first : first + MOST_AT_ONCE]


def _numbers(metrics: Sequence[Any]) -> Iterator[MetricsData]:
    if metrics:
        yield MetricsData(resource_metrics=metrics)

"""Series: an instrument with one set of labels, made once, then fed number by number.

In: a number and the context of its call. Out: exactly what ``Histogram.record(number, labels,
context)`` or ``Counter.add`` of that instrument does. The SDK has no bound instruments and cleans,
copies and hashes the labels at each call, which is nine tenths of what a call costs. Where it is
the SDK as we know it (`bridge.known`), that is done once (`bridge.feeding`); everywhere else each
number goes the public way.
"""

from collections.abc import Callable
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram

from otel_dbevents.bridge import known
from otel_dbevents.bridge.attributes import Attributes
from otel_dbevents.bridge.feeding import Fed, Sampling


class Series(Protocol):
    """An instrument with one set of labels."""

    def record(self, number: float, context: Context) -> None:
        """Record ``number`` now; exemplars point to the span that ``context`` holds."""


class Plain:
    """A series that goes the public way. The SDK may keep the labels: they are a copy."""

    __slots__ = ("_labels", "_record")

    def __init__(self, instrument: Histogram | Counter, labels: Attributes) -> None:
        self._record = _public_way(instrument)
        self._labels = dict(labels)

    def record(self, number: float, context: Context) -> None:
        """Record ``number`` with the instrument itself."""
        self._record(number, self._labels, context)


class SeriesMaker:
    """Makes the series of one meter's instruments."""

    def __init__(self) -> None:
        self._samplings: dict[int, Sampling] = {}

    def make(self, instrument: Histogram | Counter, labels: Attributes) -> Series:
        """Return a series of ``instrument`` with ``labels``; nothing is reported by that yet."""
        if not known.is_known(instrument):
            return Plain(instrument, labels)
        consumer = known.consumer_of(instrument)
        sampling = self._samplings.setdefault(id(consumer), Sampling(consumer))
        return Fed(instrument, _public_way(instrument), dict(labels), sampling)


def _public_way(instrument: Histogram | Counter) -> Callable[..., None]:
    return instrument.add if isinstance(instrument, Counter) else instrument.record

"""Series: an instrument with one set of labels, made once, then fed number by number.

In: a number and the context of its call. Out: exactly what ``Histogram.record(number, labels,
context)`` or ``Counter.add`` of that instrument does. The SDK has no bound instruments and cleans,
copies and hashes the labels at each call, which is nine tenths of what a call costs. Where it is
the SDK as we know it (`bridge.known`), that is done once (`bridge.feeding`); everywhere else each
number goes the public way.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from opentelemetry.metrics import Counter, Histogram

from otel_dbevents.bridge import known
from otel_dbevents.bridge.attributes import Attributes, Value
from otel_dbevents.bridge.feeding import Fed, Pair, Waiting
from otel_dbevents.bridge.pointing import Place, context_of
from otel_dbevents.bridge.streams import Samples
from otel_dbevents.forks import in_child


class Series(Protocol):
    """An instrument with one set of labels."""

    def record(self, number: float, context: Place) -> None:
        """Record ``number``, at the latest with `AllSeries.settle`.

        Exemplars point to the span of ``context``.
        """


class Plain:
    """A series that goes the public way. The SDK may keep the labels: they are a copy."""

    __slots__ = ("_labels", "_record")

    def __init__(self, instrument: Histogram | Counter, labels: Attributes) -> None:
        self._record = _public_way(instrument)
        self._labels = dict(labels)

    def record(self, number: float, context: Place) -> None:
        """Record ``number`` with the instrument itself."""
        self._record(number, self._labels, context_of(context))


class AllSeries:
    """The series of one meter's instruments, and the numbers of them that wait for `settle`."""

    def __init__(self) -> None:
        self._waiting: Waiting = deque()
        self._made = lru_cache(4096)(self._make)
        self._pairs = lru_cache(4096)(Pair)
        in_child(self._begin_anew)

    def of(self, instrument: Histogram | Counter, *labels: Attributes) -> Series:
        """Return the one series of ``instrument`` with these labels; nothing is reported yet."""
        return self._made(instrument, *(item for part in labels for item in part.items()))

    def settle(self, failed: Callable[[], None]) -> None:
        """Add all that waits: the end of a batch.

        ``failed`` is called where that raised, while the error is being handled: a filter, view
        or span may be anybody's.
        """
        if not self._waiting:
            return
        calls_of: dict[Fed, tuple[list[float], list[Place]]] = {}
        waiting = self._waiting
        with suppress(IndexError):  # it is empty then; another thread may be taking too
            while True:
                series, number, place = waiting.popleft()
                calls = calls_of.get(series)
                if calls is None and series.can_be_grouped():
                    calls = calls_of[series] = [], []
                if calls is None:
                    attempt(failed, series.record_now, number, place)
                else:
                    calls[0].append(number)
                    calls[1].append(place)
        samples: Samples = {}
        for series, (numbers, places) in calls_of.items():
            attempt(failed, series.record_all, numbers, places, samples)

    def pair(self, first: Series, second: Series) -> Pair | None:
        """Return the one pair of two series; None where they cannot wait as one."""
        if not (type(first) is type(second) is Fed):
            return None
        return self._pairs(first, second)

    def clear(self) -> None:
        """Let go of all series. Those that somebody holds still work."""
        self._made.cache_clear()
        self._pairs.cache_clear()

    def _make(self, instrument: Histogram | Counter, *labels: tuple[str, Value]) -> Series:
        if known.is_known(instrument):
            return Fed(instrument, _public_way(instrument), dict(labels), self._waiting)
        return Plain(instrument, dict(labels))

    def _begin_anew(self) -> None:
        """Forget in a forked child what waits: it is the parent's."""
        self._waiting.clear()


def attempt(failed: Callable[[], None], record: Callable[..., None], *given: object) -> None:
    """Call ``record``; ``failed`` where that raises, while the error is being handled."""
    try:
        record(*given)
    except Exception:  # noqa: BLE001 - the other series must not suffer
        failed()


def _public_way(instrument: Histogram | Counter) -> Callable[..., None]:
    return instrument.add if isinstance(instrument, Counter) else instrument.record

"""Limiter: of each event type so many a second are told in full; the others are only counted.

In: a batch on its way to telemetry, on a worker. Out: what is told, and what is left to the
metrics. A token bucket for each type holds a second's worth, so that a short burst passes.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

from otel_dbevents.bus import Delivery
from otel_dbevents.events import Event
from otel_dbevents.forks import in_child

ALL: Final = "*"
"""Stands for each type that is not named."""


class Limiter:
    """Splits batches. One thread uses it at a time.

    Args:
        rates: events a second, by the type's name; ``*`` is for each type not named. A type without
            a rate is not limited.
        clock: seconds that only grow.

    """

    def __init__(self, rates: Mapping[str, float], clock: Callable[[], float] = monotonic) -> None:
        self._rates, self._clock = rates, clock
        self._begin_anew()
        in_child(self._begin_anew)

    @property
    def limited(self) -> Mapping[str, int]:
        """How many events were left to the metrics, by the type's name."""
        return dict(self._limited)

    def split(self, batch: Sequence[Delivery]) -> tuple[Sequence[Delivery], list[Delivery]]:
        """Return what is told, in order, and what is not."""
        now = self._clock()
        buckets = self._buckets
        told, limited = list[Delivery](), list[Delivery]()
        for item in batch:
            kind = type(item[0])
            bucket = buckets[kind] if kind in buckets else self._bucket(kind, now)
            if bucket is None or bucket.take(now):
                told.append(item)
            else:
                limited.append(item)
        if not limited:
            return batch, limited
        for event, _ in limited:
            self._limited[event.event_type] += 1
        return told, limited

    def _begin_anew(self) -> None:
        """Begin with full buckets, also in a forked child."""
        self._buckets: dict[type[Event], _Bucket | None] = {}
        self._limited: Counter[str] = Counter()

    def _bucket(self, kind: type[Event], now: float) -> "_Bucket | None":
        rate = self._rates.get(kind.__name__, self._rates.get(ALL))
        made = self._buckets[kind] = None if rate is None else _Bucket(rate, now)
        return made


class _Bucket:
    __slots__ = ("_at", "_most", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self._most = self._tokens = max(1.0, rate)

    def take(self, now: float) -> bool:
        if now > self._at:
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
            self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

"""The objective: what queries and checks are to be faster than, and how the numbers can say so.

A share below a threshold is exact only where the threshold is one of the histogram's bounds.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec
from opentelemetry.metrics import Observation

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.observables import Observables
from otel_dbevents.events import Database

DURATION_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Seconds: the convention's for ``db.client.operation.duration``; ours for the connection times."""
_HEALTH_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


class Objective(msgspec.Struct, frozen=True):
    """What is promised, in seconds."""

    p95_s: float = 0.2
    """95 of 100 queries are faster."""
    degraded_s: float = 0.1
    """From this round trip on a check finds a database degraded,"""
    unhealthy_s: float = 0.2
    """and from this one on unhealthy."""

    @property
    def query_buckets(self) -> tuple[float, ...]:
        """The convention's bounds, and the promise among them."""
        return _with(DURATION_BUCKETS, self.p95_s)

    @property
    def health_buckets(self) -> tuple[float, ...]:
        """Bounds for checks, the thresholds among them."""
        return _with(_HEALTH_BUCKETS, self.degraded_s, self.unhealthy_s)


class Standing(NamedTuple):
    """How a database's queries fare in the window."""

    database: Database
    p95_s: float | None
    """None: too few to say."""


ReadStandings: TypeAlias = Callable[[], Iterable[Standing]]


def observe(observed: Observables, objective: Objective, read: ReadStandings) -> None:
    """Report both at each collection, of each database that had queries in the window."""
    observed.gauge(
        "dbevents.slo.p95",
        "s",
        "What 95 of 100 queries of the last minutes were faster than, as the process knows it.",
        lambda: [
            Observation(each.p95_s, at.whereabouts(each.database))
            for each in read()
            if each.p95_s is not None
        ],
    )
    observed.gauge(
        "dbevents.slo.objective",
        "s",
        "What 95 of 100 queries are to be faster than.",
        lambda: [Observation(objective.p95_s, at.whereabouts(each.database)) for each in read()],
    )


def _with(bounds: Iterable[float], *more: float) -> tuple[float, ...]:
    return tuple(sorted({*bounds, *(each for each in more if each > 0)}))

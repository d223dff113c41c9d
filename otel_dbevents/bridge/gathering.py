"""Gathering: the numbers of a batch, series by series, so that each series gets them at once."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final, NamedTuple, TypeAlias

from otel_dbevents.bridge.feeding import Fed, Pair
from otel_dbevents.bridge.pointing import Place
from otel_dbevents.bridge.series import Series, attempt
from otel_dbevents.bridge.streams import Samples
from otel_dbevents.events import (
    ConnectionCheckedIn,
    ConnectionCheckedOut,
    Database,
    DatabaseConnectionEstablished,
    Event,
    QueryExecuted,
    Statement,
)

Calls: TypeAlias = tuple[list[QueryExecuted], list[Place]]
"""Queries, and what their exemplars point to."""
Numbers: TypeAlias = tuple[list[float], list[Place]]
"""Numbers of one series, and what their exemplars point to."""
Seen: TypeAlias = Callable[[Database, Sequence[int], int], None]
"""Takes what queries of a database took, in nanoseconds, and how many of them failed."""
Query: TypeAlias = tuple[Series, Series, Pair | None, Database, Statement]
"""The durations and the rows of a statement on a database, alone and together."""

Group: TypeAlias = dict[type[Event], Numbers]
"""The durations of a database's connections, by what took them."""
_TIMED: Final = (DatabaseConnectionEstablished, ConnectionCheckedOut, ConnectionCheckedIn)


class Pool(NamedTuple):
    """The series of a database's connections."""

    database: Database
    wait: Series
    use: Series
    create: Series
    attempts: Series


class Queries:
    """The numbers of a batch's queries, statement by statement. For one thread."""

    def __init__(self, known: Callable[[QueryExecuted], Query], seen: Seen | None = None) -> None:
        self._known, self._seen = known, seen
        self._groups: dict[Pair, Calls] = {}

    def of(self, event: QueryExecuted) -> Calls | None:
        """Return what takes the numbers of the event's statement; None: each goes by itself."""
        pair = self._known(event)[2]
        if pair is None:
            return None
        calls = self._groups.get(pair)
        if calls is None and pair.can_be_grouped():
            calls = self._groups[pair] = [], []
        return calls

    def settle(self, failed: Callable[[], None]) -> None:
        """Record all. ``failed`` is called as an error is handled."""
        samples: Samples = {}
        of_database: dict[int, tuple[Database, list[int]]] = {}
        for pair, (events, places) in self._groups.items():
            took = [event.duration_ns for event in events]
            database = events[0].database
            of_database.setdefault(id(database), (database, []))[1].extend(took)
            durations = [duration_ns / 1e9 for duration_ns in took]
            attempt(failed, pair.first.record_all, durations, places, samples)
            rows = [event.returned_rows for event in events]
            of = places
            if min(rows) < 0:  # some do not say how many
                told = [row >= 0 for row in rows]
                rows, of = list(compress(rows, told)), list(compress(places, told))
            if rows:
                attempt(failed, pair.second.record_all, rows, of, samples)
        if self._seen is not None:
            for database, seen in of_database.values():
                attempt(failed, self._seen, database, seen, 0)


class Connections:
    """The numbers of a batch's connections, database by database. For one thread.

    Of what is told here nothing failed, and all of it names its database.
    """

    def __init__(
        self,
        known: Callable[[Database], Pool],
        is_there: Callable[[DatabaseConnectionEstablished], None],
    ) -> None:
        self._known, self._is_there = known, is_there
        self._pools: dict[int, tuple[Pool, Group, Numbers]] = {}

    def of(self, database: Database) -> Group:
        """Return where durations in seconds are put, by the events' types."""
        return self._gathered(database)[1]

    def established(self, event: DatabaseConnectionEstablished, place: Place) -> None:
        """Count a connection that was opened."""
        if event.database is not None:
            numbers, places = self._gathered(event.database)[2]
            numbers.append(1)
            places.append(place)
        self._is_there(event)

    def settle(self, failed: Callable[[], None]) -> None:
        """Record all. ``failed`` is called as an error is handled."""
        samples: Samples = {}
        for pool, group, attempts in self._pools.values():
            _record(pool.attempts, attempts, samples, failed)
            _record(pool.create, group[DatabaseConnectionEstablished], samples, failed)
            _record(pool.wait, group[ConnectionCheckedOut], samples, failed)
            _record(pool.use, group[ConnectionCheckedIn], samples, failed)

    def _gathered(self, database: Database) -> tuple[Pool, Group, Numbers]:
        gathered = self._pools.get(id(database))
        if gathered is None:  # its pool holds it, so that none other has its id
            group: Group = {kind: ([], []) for kind in _TIMED}
            gathered = self._pools[id(database)] = self._known(database), group, ([], [])
        return gathered


def _record(
    series: Series, gathered: Numbers, samples: Samples, failed: Callable[[], None]
) -> None:
    numbers, places = gathered
    if not numbers:
        return
    if type(series) is Fed and series.can_be_grouped():
        attempt(failed, series.record_all, numbers, places, samples)
        return
    for number, place in zip(numbers, places, strict=True):
        attempt(failed, series.record, number, place)

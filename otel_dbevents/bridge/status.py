"""The status of each database: 1 or 0, by what was last heard of it."""

import threading
from typing import Final

from opentelemetry.metrics import Observation

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.observables import Observables
from otel_dbevents.events import Database, Event

_MOST_DATABASES: Final = 1000


class Statuses:
    """Which databases gave the last connection asked for, or answered the last check."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Know of no database, also in a forked child, which has asked none for a connection."""
        self._status: dict[str, tuple[at.Attributes, int]] = {}
        self._there: dict[int, Database] = {}
        """Those of which that says 1, as nothing else was heard of any since."""
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._there.clear()
            self._status.clear()

    def observe(self, observed: Observables) -> None:
        """Report them at each collection."""
        # No unit: Prometheus would append "_ratio" to the name of a gauge with unit 1.
        text = "1 when the database gave the last connection asked for or answered the last check."
        observed.gauge("database.connection.status", "", text, self._read)

    def is_known_there(self, database: Database) -> bool:
        """Whether `is_there` was the last that was heard of any database."""
        return self._there.get(id(database)) is database

    def is_there(self, event: Event, database: Database | None) -> None:
        """Note that the database gave a connection."""
        self.set(event, 1)
        if database is not None:
            self._there[id(database)] = database

    def set(self, event: Event, up: int) -> None:
        """Keep the last outcome. A failure that named no database ends with any success there."""
        environment = at.environment_of(event)
        with self._lock:
            self._there.clear()
            if up and environment in self._status:
                self._status[environment] = (self._status[environment][0], 1)
            self._status[event.aggregate_id] = (at.whereabouts_of(event), up)
            if len(self._status) > _MOST_DATABASES:
                del self._status[next(iter(self._status))]

    def _read(self) -> list[Observation]:
        with self._lock:
            return [Observation(up, labels) for labels, up in self._status.values()]

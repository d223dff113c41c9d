"""One database that failed: whether it is there, and what is still to be done about it."""

from typing import Final

from otel_dbevents.events import Database, DatabaseHealthCheckCompleted, Event
from otel_dbevents.health.circuit import Circuit

_COOL_DOWN_S: Final = 5.0
"""The pools of a database are mended once in this time at the most; else it is put off."""


class Case:
    """A database that failed, now or once. Not thread-safe: `Recovery` has a lock."""

    __slots__ = (
        "answered_ns",
        "broken_s",
        "circuit",
        "database",
        "failed_ns",
        "may_mend_at",
        "mend_at",
    )

    def __init__(self, circuit: Circuit, database: Database) -> None:
        self.circuit = circuit
        self.database = database
        self.failed_ns = self.answered_ns = 0
        """When it failed last, and when it answered again, in nanoseconds since the epoch."""
        self.broken_s: float | None = None
        """Connections that were opened before that, in seconds since the epoch, may be broken."""
        self.mend_at: float | None = None
        """When they are to be retired, by the clock; None: not yet, or none are broken."""
        self.may_mend_at = float("-inf")
        """Before that nothing is mended, by the clock."""

    @property
    def times(self) -> tuple[float, ...]:
        """When something is to be done, by the clock."""
        return tuple(time for time in (self.circuit.due, self.mend_at) if time is not None)

    def failed(self, event: Event, now: float, *, is_broken: bool) -> None:
        """Note a failure, which may have broken other connections too."""
        self.mend_at = None  # it is away again: not before it is back
        if self.circuit.failed(now) and event.database is not None:
            self.database = event.database  # the engine that failed is the one that is asked
        self.failed_ns = max(self.failed_ns, event.time_ns)
        if is_broken:
            self.broken_s = event.time_ns / 1e9

    def is_back(self, at_ns: int, now: float) -> None:
        """Note a success of somebody else's."""
        if self.circuit.succeeded():
            self._to_mend(at_ns, now)

    def ended(self, check: DatabaseHealthCheckCompleted | None, now: float) -> bool:
        """Note how a try ended; None: there was nobody to ask. True: the last one was in vain."""
        answered = True
        if check is not None:
            answered = bool(check.was_answered) and check.end_time_ns >= self.failed_ns
        if not self.circuit.ended(now, answered=answered):
            return False
        if check is not None and answered:
            self._to_mend(check.end_time_ns, now)
        return not answered

    def _to_mend(self, at_ns: int, now: float) -> None:
        self.answered_ns = max(self.answered_ns, at_ns)
        if self.broken_s is not None:
            self.mend_at = max(now, self.may_mend_at)

    def mended(self, now: float) -> float | None:
        """Return before when connections are to be retired, if that is to be done now: once."""
        if self.mend_at is None or now < self.mend_at:
            return None
        before_s, self.broken_s, self.mend_at = self.broken_s, None, None
        self.may_mend_at = now + _COOL_DOWN_S
        return before_s

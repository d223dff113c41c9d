"""What subscribers did not get: counted by reason, and told in the log once a minute."""

import logging
from contextlib import suppress
from threading import RLock
from time import monotonic

from otel_dbevents.swallowing import Swallowing

_LOG_SECONDS = 60.0
_log = logging.getLogger("otel_dbevents.bus")


class Losses:
    """Counts by reason. What is counted here is counted in ``total`` as well.

    The lock may be taken twice by one thread: an object that is collected while it is held may
    publish, and a signal's handler may ask for the counts.
    """

    def __init__(self, name: str, total: "Losses | None" = None) -> None:
        self._name = name
        self._total = total
        self._swallowing = Swallowing(f"bus: {name}", _log)
        self._drops_silent_until = 0.0
        self.renew()

    def add(self, reason: str, number: int, error: BaseException | None = None) -> None:
        """Count, and log the error unless one was logged in the last minute."""
        if self._total is not None:
            self._total.add(reason, number)
        with self._lock:
            so_far = self._counts[reason] = self._counts.get(reason, 0) + number
        if error is not None:
            said = "%s failed, and %d events so far were lost by it"
            try:
                self._swallowing.caught(error, said, self._name, so_far)
            finally:
                del error  # else one that passes on (`swallowing.is_theirs`) would keep itself

    def tell_dropped(self, so_far: int, capacity: int) -> None:
        """Log how many gave way in a full buffer, once a minute for the whole bus. Never raises."""
        told = self if self._total is None else self._total
        with told._lock:
            now = monotonic()
            if not so_far or now < told._drops_silent_until:
                return
            told._drops_silent_until = now + _LOG_SECONDS
        with suppress(Exception):  # a log filter that raises
            _log.warning(
                "%s did not get %d events so far: its buffer of %d was full, and the oldest gave "
                "way; OTEL_DBEVENTS_BUFFER_SIZE makes it larger (said once a minute at most)",
                self._name,
                so_far,
                capacity,
            )

    def counts(self) -> dict[str, int]:
        """How many were lost, by reason."""
        with self._lock:
            return dict(self._counts)

    def renew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock."""
        self._lock = RLock()
        self._counts: dict[str, int] = {}

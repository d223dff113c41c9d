"""The last events that were published."""

from collections import deque
from contextlib import suppress
from itertools import repeat, starmap
from threading import RLock

from otel_dbevents.bus.unmade import events_of
from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event


class History:
    """Remembers the last ``most`` events.

    Filled by any thread, without a lock. A draft keeps its caller's context alive, and all that is
    in it: so it is put aside until `settle`, which keeps no more of it than its events.
    """

    def __init__(self, most: int) -> None:
        self._new: deque[Event | Draft] = deque(maxlen=most)
        self._events: deque[Event] = deque(maxlen=most)
        self._lock = RLock()
        self.append = self._new.append
        """Takes what was published. May be called in a finalizer."""

    def settle(self) -> None:
        """Keep the events alone. Called on a worker, when it has handled a batch."""
        new: list[Event | Draft] = []
        with self._lock:
            with suppress(IndexError):  # a forked child has forgotten them meanwhile
                new.extend(starmap(self._new.popleft, repeat((), len(self._new))))
            self._events.extend(events_of(new))

    def events(self) -> tuple[Event, ...]:
        """Return the events, the oldest first."""
        with self._lock:
            self.settle()
            return tuple(self._events)

    def forget(self) -> None:
        """Remember nothing, in a forked child: what was there is the parent's."""
        self._lock = RLock()
        self._new.clear()
        self._events.clear()

"""The end of the process: one deadline for all of ours that waits there.

Python calls what is registered with `atexit` one after the other; each with a time of its own, they
would take the sum.
"""

import threading
from time import monotonic
from typing import Final

from otel_dbevents.forks import in_child


class Ending:
    """A clock that the first who asks for the time left has started."""

    def __init__(self) -> None:
        self._began: float | None = None

    def time_left(self, timeout: float) -> float:
        """Return how many seconds of ``timeout`` are left, never less than 0."""
        now = monotonic()
        if self._began is None:
            self._began = now
        return min(timeout, max(0.0, self._began + timeout - now))

    def at_most(self, timeout: float) -> float:
        """Return ``timeout``; where the process is ending, what is left of it."""
        return timeout if self._began is None else self.time_left(timeout)

    def is_here(self) -> bool:
        """Whether the process ends: its last thread that is waited for has ended."""
        return self._began is not None or not threading.main_thread().is_alive()

    def took_since(self, began: float) -> None:
        """Have the clock run since ``began`` (`time.monotonic`), unless it runs already.

        For who waited in vain before anybody asked for the time left.
        """
        if self._began is None:
            self._began = began

    def renew(self) -> None:
        """Forget the beginning, in a forked child: its end is another."""
        self._began = None


ending: Final = Ending()
"""The process's own."""

in_child(ending.renew)

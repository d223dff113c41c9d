"""Errors that end with us: nothing of ours may reach the application, and nothing may be hidden.

Whatever swallows an error says so here: `told` for one that has a way round and costs nothing,
`Swallowing.caught` for one that costs telemetry, which is counted and logged once a minute at each
place. What is logged is the error's type and the places it came through: its message, and those of
the errors behind it, may hold the driver's text, a statement or a value.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from time import monotonic
from traceback import walk_tb
from typing import Final, TypeAlias

from otel_dbevents.forks import in_child

Listener: TypeAlias = Callable[[str, BaseException], None]
"""Takes the name of the place, and the error while it is being handled."""

listeners: Final[list[Listener]] = []
"""Who hears of each: our tests, so that to swallow an error hides none. None in production."""

_AGAIN_S: Final = 60.0
_MOST_PLACES: Final = 8


def told(place: str, error: BaseException) -> None:
    """Tell the listeners that an error ends here. Never raises, and costs nothing without any."""
    for listener in listeners:
        with suppress(Exception):
            listener(place, error)


def came_through(error: BaseException) -> str:
    """Return the error's type and the places that it came through, the innermost first.

    Not its message, which may hold a value.
    """
    places = [
        f"{PurePath(frame.f_code.co_filename).name}:{line}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return " < ".join((type(error).__name__, *reversed(places[-_MOST_PLACES:])))


class Swallowing:
    """One place where errors end: it counts them, and logs one a minute. Nothing passes it.

    ``errors`` is their number; a forked child begins at none.

    Args:
        place: its name, for the listeners.
        log: where it is logged, as a warning.

    """

    def __init__(self, place: str, log: logging.Logger) -> None:
        self._place = place
        self._log = log
        self.last = ""
        """What `came_through` says of the last one. Not the exception itself, whose frames would
        keep the application's objects alive."""
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child: what ended here before is the parent's.

        The lock is one that a thread may take twice: the garbage collector may run a result's end,
        and so come here, while we are here.
        """
        self.errors = 0
        self._silent_until = 0.0
        self._lock = threading.RLock()

    def caught(self, error: BaseException, what: str, *words: object) -> None:
        """Take note of an error. Never raises.

        ``what`` is logged, with ``words`` in the place of its ``%s`` and ``%d``, and `came_through`
        after that. Neither may hold a value.
        """
        with suppress(Exception):  # a log filter or handler of anybody's may raise
            told(self._place, error)
            with self._lock:
                self.errors += 1
                self.last = came_through(error)
                now = monotonic()
                if now < self._silent_until:
                    return
                self._silent_until = now + _AGAIN_S
            self._log.warning(what + ": %s", *words, self.last)

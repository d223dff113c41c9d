"""Errors that end with us: nothing of ours may reach the application, and nothing may be hidden.

Whatever swallows an error says so here: `told` for one that has a way round and costs nothing,
`Swallowing.caught` for one that costs telemetry, which is counted and logged once a minute at each
place. What is logged is the error's type and the places it came through: its message, and those of
the errors behind it, may hold the driver's text, a statement or a value.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath
from time import monotonic
from traceback import walk_tb
from typing import Final, TypeAlias

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

    A forked child begins at none.

    Args:
        place: its name, for the listeners.
        log: where it is logged, as a warning.

    """

    errors: int
    """How many errors ended here."""
    last: str
    """What `came_through` says of the last one. Not the exception itself, whose frames would keep
    the application's objects alive."""
    _lock: threading.RLock
    _silent_until: float

    def __init__(self, place: str, log: logging.Logger) -> None:
        self._place = place
        self._log = log
        self._renew()
        _all.add(self)

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

    def noted(self, error: BaseException) -> None:
        """Take note of an error in a finalizer: no lock is taken there, and nothing logged."""
        self.errors += 1
        self.last = type(error).__name__
        told(self._place, error)

    def _renew(self) -> None:
        """Begin at nothing, also in a forked child, where another thread may have had the lock."""
        self.errors = 0
        self.last = ""
        self._silent_until = 0.0
        # The garbage collector may run a result's end, and so come here, while we are here.
        self._lock = threading.RLock()


_all: Final["weakref.WeakSet[Swallowing]"] = weakref.WeakSet()


def _after_fork() -> None:
    for each in tuple(_all):
        each._renew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)

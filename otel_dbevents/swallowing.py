"""Errors that end with us: nothing of ours may reach the application, and nothing may be hidden.

Whatever swallows an error says so here: `told` for one that has a way round and costs nothing,
`Swallowing.caught` for one that costs telemetry, which is counted and logged once a minute at each
place. What is logged is the error's type and the places it came through: its message, and those of
the errors behind it, may hold the driver's text, a statement or a value.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from threading import get_ident
from time import monotonic
from traceback import walk_tb
from types import CodeType
from typing import Any, Final, TypeAlias

from otel_dbevents.forks import in_child

Listener: TypeAlias = Callable[[str, BaseException], None]
"""Takes the name of the place, and the error while it is being handled."""

listeners: Final[list[Listener]] = []
"""Who hears of each: our tests, so that to swallow an error hides none. None in production."""

_AGAIN_S: Final = 60.0
_MOST_PLACES: Final = 8


def told(place: str, error: BaseException) -> None:
    """Tell the listeners that an error ends here. Costs nothing without any.

    Raises what does not end here: see `is_theirs`.
    """
    if is_theirs(error):
        try:
            raise error
        finally:
            del error
    _heard(place, error)


def _heard(place: str, error: BaseException) -> None:
    for listener in listeners:
        with suppress(Exception):
            listener(place, error)


def is_theirs(error: BaseException) -> bool:
    """Whether a signal's handler of the application's raised it while we were at work.

    A time limit of Celery's or RQ's is one, and Ctrl-C. It is meant for whatever the application is
    doing, and we only happened to be what it interrupted: it does not end here. Who raises it again
    forgets it then (``del error``), since the frame is in its traceback from now on.
    """
    try:
        if threading.main_thread().ident != get_ident():
            return False
        through = {frame.f_code for frame, _ in walk_tb(error.__traceback__)}
        return isinstance(error, KeyboardInterrupt) or not through.isdisjoint(_handlers())
    except Exception:  # noqa: BLE001 - as near the end of the stack: it ends here
        return False


def _handlers() -> Iterator[CodeType]:
    """Return the code of each handler of a signal that is written in Python."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler) and not hasattr(handler, "__code__"):
            handler = getattr(handler, "__func__", type(handler).__call__)
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            yield code


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
        """Take note of an error. Raises nothing but what does not end here: see `is_theirs`.

        ``what`` is logged, with ``words`` in the place of its ``%s`` and ``%d``, and `came_through`
        after that. Neither may hold a value.
        """
        if is_theirs(error):
            try:
                raise error
            finally:
                del error
        with suppress(Exception):  # a log filter or handler of anybody's may raise
            _heard(self._place, error)
            with self._lock:
                self.errors += 1
                self.last = came_through(error)
                now = monotonic()
                if now < self._silent_until:
                    return
                self._silent_until = now + _AGAIN_S
            self._log.warning(what + ": %s", *words, self.last)

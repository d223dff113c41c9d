"""The schedule: each database is checked again and again, jittered, never twice at a time.

One thread does it. It is there once the application has used a database, in a forked child once
that has.
"""

import logging
import random
import threading
import weakref
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context, attach

from otel_dbevents.ending import ending
from otel_dbevents.forks import in_child
from otel_dbevents.health.checks import Check, Checks
from otel_dbevents.health.targets import Target
from otel_dbevents.sources.around import silenced
from otel_dbevents.swallowing import Swallowing
from otel_dbevents.threads import begin, new_thread

NAME: Final = "otel-dbevents-health"
_LOOK_S: Final = 5.0
"""So often it is looked for databases that are new."""
_JITTER: Final = 0.1
_log = logging.getLogger("otel_dbevents")
FindTargets: TypeAlias = Callable[[], Iterable[Target]]


class Schedule:
    """Checks what is to be checked, every ``interval_s`` seconds.

    Args:
        checks: makes the checks.
        targets: finds what is to be checked now. Of several of one database the first is asked.
        interval_s: seconds between two checks of one database; a tenth is left to chance, and the
            first comes after a part of it that is.
        clock: monotonic seconds.
        chance: from 0 to 1.

    """

    _thread: threading.Thread | None

    def __init__(
        self,
        checks: Checks,
        targets: FindTargets,
        interval_s: float,
        *,
        clock: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._checks, self._targets, self._interval_s = checks, targets, interval_s
        self._clock, self._chance = clock, chance
        self._swallowing = Swallowing("health", _log)
        self._closed = False
        self._begin_anew()
        in_child(self._begin_anew)

    def awake(self) -> None:
        """Have the thread there, if it is not. Costs next to nothing where it is. Never raises.

        None begins when the process ends: nothing would be asked any more, and Python 3.12 starts
        no thread then.
        """
        if self._thread is None and not self._closed and not ending.is_here():
            self._start()

    def tick(self) -> float:
        """Begin what is due, give up what is overdue; return for how many seconds to wait."""
        now = self._clock()
        due, running = self._due, self._running
        for name in [name for name, check in running.items() if check.expire()]:
            del running[name]
        found = {each.database.aggregate_id: each for each in reversed([*self._targets()])}
        for gone in due.keys() - found.keys():
            del due[gone]
        for name, target in found.items():
            at = due.get(name)
            if at is None:
                due[name] = now + self._interval_s * self._chance()
            elif at <= now and name not in running and not ending.is_here():
                due[name] = now + self._interval_s * (1 + _JITTER * (2 * self._chance() - 1))
                running[name] = self._checks.begin(target)
        until = [*due.values(), *(check.deadline for check in running.values())]
        return max(0.001, min([*until, now + min(_LOOK_S, self._interval_s)]) - now)

    def close(self, timeout: float = 0.2) -> None:
        """Check nothing more; what is under way goes on by itself. Twice is harmless."""
        self._closed = True
        thread = self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            made = new_thread(NAME, _work, weakref.ref(self), self._wake)
            try:
                begin(made)
            except Exception as error:  # noqa: BLE001 - no thread is to be had; the next event asks
                self._swallowing.caught(error, "Health checks could not begin")
                return
            self._thread = made

    def _turn(self) -> float:
        """Tick, whatever that raises; -1 when it is over."""
        if self._closed:
            return -1
        try:
            return self.tick()
        except Exception as error:  # noqa: BLE001 - the others are to be checked all the same
            self._swallowing.caught(error, "A health check could not be made")
            return min(_LOOK_S, self._interval_s)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, which has no thread."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread = None
        self._due: dict[str, float] = {}
        self._running: dict[str, Check] = {}


def _work(schedule: "weakref.ref[Schedule]", wake: threading.Event) -> None:
    """Do the thread's work for as long as the schedule is there, and not closed."""
    attach(silenced(Context()))
    wait_s: float = 0.0
    while wait_s >= 0:
        wake.wait(wait_s)
        found: Any = schedule()
        wait_s = -1 if found is None else found._turn()
        del found

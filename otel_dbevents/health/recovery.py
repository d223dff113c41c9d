"""Recovery: a database that failed is asked until it answers, and its pools are mended once.

In: batches from the bus. Out: health checks, published to the bus, of which the judges make
`DatabaseRecovered`. All that takes time is done on a thread of our own, which lives only while a
database is away.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from otel_dbevents.events import Database, DatabaseHealthCheckCompleted, Event
from otel_dbevents.forks import in_child
from otel_dbevents.health.case import Case
from otel_dbevents.health.circuit import Circuit, State
from otel_dbevents.health.saying import TYPES, Says, says, took_ns
from otel_dbevents.swallowing import Swallowing, told
from otel_dbevents.threads import begin, new_thread

Delivery: TypeAlias = tuple[Event, Any]
"""An event with the context of its call."""
Probe: TypeAlias = Callable[[Database], DatabaseHealthCheckCompleted | None]
"""Checks a database: `Recovery.pass_on` gets what came of it, and it is returned. None where there
is no engine to it any more. Blocks."""
Retire: TypeAlias = Callable[[Database, float], object]
"""Has no connection given out again that was opened before a time, in seconds since the epoch."""

_MOST: Final = 1_000
_THREAD: Final = "otel-dbevents-health-recovery"
_log = logging.getLogger("otel_dbevents.health")
_guard: Final = Swallowing("recovery", _log)
_WRONG: Final = "an error of ours while a database was away; the application is not harmed"


class Recovery:
    """Asks databases that failed, and mends their pools when they are back.

    The circuit of a database opens with a failed connection of the application, one that was lost,
    or a health check without an answer. It is then asked (`Circuit` says when) until it answers, or
    the application itself gets a connection, or it was asked ``tries`` times: that is logged once,
    and the last check has the detail ``recovery.given_up``. Nobody is asked while its circuit is
    closed, nor for a password that was refused.

    When it is back, the connections that were opened before its last failure are retired, once.
    Where the database itself had refused, those that there were are good, and stay. The latest
    1,000 databases that failed are known.

    Args:
        probe: asks a database.
        retire: mends the pools of a database.
        publish: takes each check that is passed on, with its context.
        first_s: the longest wait before the first try, in seconds; as for `Circuit`.
        most_s: the longest wait before any.
        tries: how often it is asked before it is given up.
        clock: returns seconds that never go back.
        make: makes a circuit of those three settings.

    """

    types = TYPES
    """What is heard."""

    def __init__(
        self,
        probe: Probe,
        retire: Retire,
        publish: Callable[[Event, Any], object],
        *,
        first_s: float = 1.0,
        most_s: float = 60.0,
        tries: int = 10,
        clock: Callable[[], float] = monotonic,
        make: Callable[..., Circuit] = Circuit,
    ) -> None:
        self._probe = probe
        self._retire = retire
        self._publish = publish
        self._clock = clock
        self._make = partial(make, first_s=first_s, most_s=most_s, tries=tries)
        self._closed = False
        self._begin_anew()
        in_child(self._begin_anew)

    def consume(self, batch: Sequence[Delivery]) -> None:
        """Hear what happened. Asks and waits for nothing."""
        with self._changed:
            for event, _ in batch:
                self._hear(event)
            self._awake()

    def pass_on(self, event: Event, context: Any = None) -> None:
        """Publish a check, once all is done that follows from it.

        So whoever is told that a database is back finds its pools mended.
        """
        if isinstance(event, DatabaseHealthCheckCompleted):
            try:
                event = self._settled(event)
            except Exception as error:  # noqa: BLE001 - the check was made, and is told
                _guard.caught(error, _WRONG)
        self._publish(event, context)

    def close(self) -> None:
        """Ask no more, and mend nothing. Waits for nothing: what is under way ends untold."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def states(self) -> dict[str, State]:
        """How each database is that ever failed, by its name in the event stream."""
        with self._changed:
            return {name: case.circuit.state for name, case in self._cases.items()}

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, which has no worker."""
        self._changed = threading.Condition()
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._worker: threading.Thread | None = None

    def _hear(self, event: Event) -> None:
        said, name = says(event), event.aggregate_id
        if event.database is None or said in (Says.NOTHING, Says.LOCKED):
            return
        case = self._cases.get(name)
        if said is Says.THERE:
            if case is not None and event.time_ns >= case.failed_ns:
                case.is_back(event.time_ns, self._clock())
            return
        if case is None:
            case = self._cases[name] = Case(self._make(), event.database)
            if len(self._cases) > _MOST:
                self._cases.popitem(last=False)
        if event.time_ns - took_ns(event) > case.answered_ns:  # else it asked before that
            case.failed(event, self._clock(), is_broken=said is Says.AWAY)

    def _next_s(self) -> float | None:
        """Return when something is to be done next; None: nothing is."""
        times = [time for case in self._cases.values() for time in case.times]
        return min(times, default=None)

    def _awake(self) -> None:
        """Have a worker where something is to be done, and have it look."""
        if self._worker is None and not self._closed and self._next_s() is not None:
            self._start()
        self._changed.notify_all()

    def _start(self) -> None:
        worker = new_thread(_THREAD, self._run)
        try:
            self._worker = worker
            begin(worker)
        except BaseException as error:  # the process ends, or no memory: with the next
            self._worker = None
            if not isinstance(error, Exception):
                raise
            told("recovery", error)

    def _run(self) -> None:
        try:
            while self._wait():
                self.work()
        finally:
            with self._changed:
                if self._worker is threading.current_thread():
                    self._worker = None

    def _wait(self) -> bool:
        """Wait until something is to be done. False: nothing is, and the worker is gone."""
        with self._changed:
            while not self._closed and (next_s := self._next_s()) is not None:
                left_s = next_s - self._clock()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
            if self._worker is threading.current_thread():
                self._worker = None
            return False

    def work(self) -> None:
        """Do what is to be done by now for each database. Blocks: on the worker, and in tests."""
        with self._changed:
            cases = list(self._cases.values())
        for case in cases:
            if self._closed:
                return
            self._mend(case)
            with self._changed:
                is_due = case.circuit.begin(self._clock())
            if is_due:
                self._ask(case)

    def _ask(self, case: Case) -> None:
        """Have a check made, which comes by `pass_on`."""
        try:
            check = self._probe(case.database)
        except Exception as error:  # noqa: BLE001 - it is of a kind that cannot be asked
            _guard.caught(error, _WRONG)
            check = None
        with self._changed:
            case.ended(check, self._clock())  # where there was nobody to ask, or none passed on

    def _settled(self, check: DatabaseHealthCheckCompleted) -> DatabaseHealthCheckCompleted:
        """Do what follows from a check; return it, with what it was if it was a try."""
        with self._changed:
            case = self._cases.get(check.aggregate_id)
            if case is None or case.circuit.state is not State.HALF_OPEN or self._closed:
                self._hear(check)
                tried, is_last = 0, False
            else:
                tried, is_last = case.circuit.asked, case.ended(check, self._clock())
            self._awake()
        if case is not None:
            self._mend(case)
        if is_last:
            _log.error(
                "the database %s did not answer %d times and is not asked again until the "
                "application gets a connection",
                check.aggregate_id,
                tried,
            )
        if not tried:
            return check
        details = {**(check.details or {}), "recovery.try": tried}
        return replace(check, details=details | ({"recovery.given_up": True} if is_last else {}))

    def _mend(self, case: Case) -> None:
        with self._changed:
            before_s = case.mended(self._clock())
        if before_s is not None:
            try:
                self._retire(case.database, before_s)
            except Exception as error:  # noqa: BLE001 - the pools are as they were without us
                _guard.caught(error, _WRONG)

"""Checks: a target is asked, once at a time, and what came of it becomes an event."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from time import monotonic, time_ns
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry import context as otel_context

from otel_dbevents.events import (
    DatabaseHealthCheckCompleted,
    Environment,
    Event,
    PoolReading,
)
from otel_dbevents.forks import in_child
from otel_dbevents.health.details import details_of
from otel_dbevents.health.round import Outcome, Round
from otel_dbevents.health.status import Thresholds
from otel_dbevents.health.targets import Target, pool_of, target_of
from otel_dbevents.health.window import Windows
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.guarding import guard

Publish: TypeAlias = Callable[[Event, Any], None]
_MOST_DATABASES: Final = 1_000


class Check:
    """A check of one target, under way or over. It does not keep the target."""

    def __init__(self, limit_s: float) -> None:
        self.event: DatabaseHealthCheckCompleted | None = None
        self.round: Round | None = None
        self.limit_s = limit_s

    @property
    def deadline(self) -> float:
        """When it is given up, by the monotonic clock."""
        return 0.0 if self.round is None else self.round.deadline

    def expire(self) -> bool:
        """Give it up if its time is over; True when it has ended, by this or before."""
        return self.round is None or self.round.expire()


class Checks:
    """Makes checks.

    Args:
        environment: where the application runs.
        thresholds: what makes the status.
        timeout_ms: for how long a database may take to be connected to, and then to answer.
        slo_p95_ms: what 95 of 100 queries are to be faster than.
        publish: takes each event with a context.
        pools: reads the pools that are under watch.
        windows: what is known of the last minutes' queries.

    """

    def __init__(
        self,
        *,
        environment: Environment = Environment.LOCAL,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 - it is immutable
        timeout_ms: float = 2_000,
        slo_p95_ms: float = 200,
        publish: Publish | None = None,
        pools: Callable[[], Iterable[PoolReading]] = tuple,
        windows: Windows | None = None,
    ) -> None:
        self._environment, self._thresholds = environment, thresholds
        self._timeout_ms, self._slo_p95_ms = timeout_ms, slo_p95_ms
        self._publish, self._pools, self._windows = publish, pools, windows
        self._begin_anew()
        in_child(self._begin_anew)

    def check(self, thing: object, timeout_ms: float | None = None) -> DatabaseHealthCheckCompleted:
        """Check a target, and wait for it. Raises `TypeError` for what cannot be checked."""
        check = self.begin(target_of(thing, self._environment), timeout_ms)
        if check.round is not None:
            check.round.wait()
        return _event_of(check)

    async def check_async(
        self, thing: object, timeout_ms: float | None = None
    ) -> DatabaseHealthCheckCompleted:
        """Check a target as `check` does; the event loop goes on meanwhile."""
        check = self.begin(target_of(thing, self._environment), timeout_ms)
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        if check.round is not None:
            check.round.when_over(lambda: _tell(loop, over))
        while not check.expire():
            try:
                async with asyncio.timeout(max(0.001, check.deadline - monotonic())):
                    await over.wait()
            except TimeoutError:
                continue
        return _event_of(check)

    def begin(self, target: Target, timeout_ms: float | None = None) -> Check:
        """Begin a check, or return the one that is under way.

        Where the one before still hangs in the driver there is no second: it failed by that.
        """
        caller = otel_context.get_current()
        check = Check((timeout_ms or self._timeout_ms) / 1e3)

        def ended(outcome: Outcome) -> None:
            self._ended(check, self._event(target, outcome, caller), caller)

        with self._lock:
            before = self._last.get(target.thing)
            if before is not None and before.round is not None:
                if not before.round.is_over:
                    return before
                if before.round.is_hanging:
                    ended(_hung(before.round, check.limit_s))
                    return check
            made = Round(target.probe, check.limit_s, ended)
            check.round = made
            self._last[target.thing] = check
        try:
            made.start()
        except RuntimeError as error:  # no thread is to be had: too many, or the process ends
            check.round = None
            ended(Outcome(time_ns(), 0, error=error))
        return check

    @property
    def left_behind(self) -> int:
        """How many probes hang in their driver, given up."""
        with self._lock:
            checks = list(self._last.values())
        return sum(1 for each in checks if each.round is not None and each.round.is_hanging)

    def _ended(self, check: Check, event: DatabaseHealthCheckCompleted, caller: Any) -> None:
        """Keep the event for who asked, and publish it."""
        check.event = event
        if self._publish is not None:
            try:
                self._publish(event, caller)
            except Exception as error:  # noqa: BLE001 - who asked gets the event all the same
                guard.caught(error)

    def _event(self, target: Target, outcome: Outcome, caller: Any) -> DatabaseHealthCheckCompleted:
        database, failed = target.database, outcome.error is not None
        latency_ms = outcome.duration_ns / 1e6
        return DatabaseHealthCheckCompleted(
            self._thresholds.judge(latency_ms, failed=failed),
            latency_ms,
            self._details(target, outcome),
            None,
            outcome.end_time_ns,
            database.environment,
            database=database,
            parent=parent_of(caller),
        )

    def _details(self, target: Target, outcome: Outcome) -> Mapping[str, Any]:
        name = target.database.aggregate_id
        failed_checks = self._count(name, failed=outcome.error is not None)
        pools, reading = [], None
        try:
            pools = [each for each in self._pools() if each.database.aggregate_id == name]
            if not pools and (alone := pool_of(target)) is not None:
                pools = [alone]
            reading = None if self._windows is None else self._windows.read(name)
        except Exception as error:  # noqa: BLE001 - the check was made: it is told without them
            guard.caught(error)
        return details_of(outcome, pools, reading, self._slo_p95_ms, failed_checks)

    def _count(self, name: str, *, failed: bool) -> int:
        """Return how many checks of a database failed in a row, this one included."""
        with self._lock_counts:
            count = self._failed.pop(name, 0) + 1 if failed else 0
            if failed:
                self._failed[name] = count
            else:
                self._failed.pop(name, None)
            if len(self._failed) > _MOST_DATABASES:
                self._failed.popitem(last=False)
            return count

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child: what is under way is the parent's."""
        self._lock = threading.RLock()
        self._lock_counts = threading.RLock()
        self._last: WeakKeyDictionary[Any, Check] = WeakKeyDictionary()
        self._failed: OrderedDict[str, int] = OrderedDict()


def _hung(before: Round, limit_s: float) -> Outcome:
    """Return how a check ends where the one before still hangs in the driver."""
    error = TimeoutError("the check before has not come back")
    return Outcome(time_ns(), int(limit_s * 1e9), -1, before.stage, error, True)


def _event_of(check: Check) -> DatabaseHealthCheckCompleted:
    if check.event is None:  # pragma: no cover - it is there when the round is over
        raise RuntimeError("a check ended without an event")
    return check.event


def _tell(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    if not loop.is_closed():
        try:
            loop.call_soon_threadsafe(over.set)
        except RuntimeError:  # it was closed this moment
            return

"""A round: one check under way, which either the probe ends or the clock.

The probe runs on a thread of its own. Where it hangs in a driver it is given up, and left behind:
nobody waits for it, and what it still finds out is not told.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, perf_counter_ns, time_ns
from typing import Final, NamedTuple, Protocol

from opentelemetry.context import Context, attach

from otel_dbevents.sources.around import silenced
from otel_dbevents.threads import new_thread

CONNECT: Final = "connect"
STATEMENT: Final = "statement"
LATER_S: Final = 0.5
"""So much longer a driver may take than we wait, that it is always we who end the round."""


class Outcome(NamedTuple):
    """How a round ended. ``error`` is None where the database answered. Times in nanoseconds."""

    end_time_ns: int
    duration_ns: int
    """Of the question's round trip; where it failed, of all that went before, connecting too."""
    connect_ns: int = -1
    """-1: it did not come to a connection."""
    stage: str = ""
    """What it failed in: `CONNECT` or `STATEMENT`."""
    error: BaseException | None = None
    timed_out: bool = False


class Probe(Protocol):
    """Asks one target once. It blocks, and raises what the driver raises."""

    def ask(self, stages: "Round") -> None:
        """Connect, say `Round.connected`, ask, say `Round.answered`, and close."""
        ...


class Round:
    """One check.

    Args:
        probe: asks.
        limit_s: for so many seconds it may connect, and then wait for the answer.
        ended: is called once, with the outcome, on the thread that ends the round. It must not
            raise.

    """

    def __init__(self, probe: Probe, limit_s: float, ended: Callable[[Outcome], None]) -> None:
        self._probe: Probe | None = probe
        """Until it asks: it holds the target, which nobody is to keep."""
        self.limit_s, self._ended = limit_s, ended
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._abort: Callable[[], object] | None = None
        self._began_ns = self._asked_ns = 0
        self._connect_ns = -1
        self._stage, self._gave_up = CONNECT, False
        self._waiting: list[Callable[[], object]] = []
        self.deadline = 0.0
        """When the present stage has taken too long, by the monotonic clock."""

    def start(self) -> None:
        """Begin. Raises `RuntimeError` where the system gives no thread."""
        self._begin()
        self._thread = new_thread("otel-dbevents-health-probe", self._run)
        self._thread.start()

    def connected(self, abort: Callable[[], object] | None = None) -> None:
        """Say that there is a connection, and that the question follows.

        ``abort`` ends a wait for the answer; it is called on another thread.
        """
        now = perf_counter_ns()
        with self._lock:
            self._connect_ns = now - self._began_ns
            self._abort, self._stage = abort, STATEMENT
            self.deadline = monotonic() + self.limit_s
        self._asked_ns = perf_counter_ns()

    def answered(self) -> None:
        """Say that the database has answered: the round is over."""
        self._end(perf_counter_ns() - self._asked_ns)

    def expire(self) -> bool:
        """End the round if its time is up; True when it is over, by this or before."""
        if not self._over.is_set() and monotonic() >= self.deadline:
            self._end(perf_counter_ns() - self._began_ns, TimeoutError("no answer"), late=True)
            abort = self._abort
            if abort is not None:
                with suppress(Exception):  # the connection may be closed by now
                    abort()
        return self._over.is_set()

    def wait(self) -> None:
        """Wait until the round is over, which its deadline bounds."""
        while not self.expire():
            self._over.wait(max(0.001, self.deadline - monotonic()))

    def when_over(self, call: Callable[[], object]) -> None:
        """Have something called when the round is over: at once, where it is. It must not raise."""
        with self._lock:
            if not self._over.is_set():
                self._waiting.append(call)
                return
        call()

    @property
    def is_over(self) -> bool:
        """Whether the outcome is there."""
        return self._over.is_set()

    @property
    def is_hanging(self) -> bool:
        """Whether it was given up, and the probe has not come back from the driver since."""
        return self._gave_up and self._thread is not None and self._thread.is_alive()

    @property
    def stage(self) -> str:
        """How far the probe has come: `CONNECT` or `STATEMENT`."""
        return self._stage

    def _begin(self) -> None:
        self._began_ns, self.deadline = perf_counter_ns(), monotonic() + self.limit_s

    def _run(self) -> None:
        probe, self._probe = self._probe, None
        try:
            attach(silenced(Context()))
            if probe is not None:
                probe.ask(self)
            self.answered()  # which it has said by now
        except BaseException as error:  # noqa: BLE001 - whatever a driver raises is the outcome
            self._end(perf_counter_ns() - self._began_ns, error)
        finally:
            self._abort = None

    def _end(
        self, duration_ns: int, error: BaseException | None = None, *, late: bool = False
    ) -> None:
        with self._lock:
            if self._over.is_set() or (self._ended is _nobody):
                return
            ended, self._ended = self._ended, _nobody
            self._gave_up = late
            outcome = Outcome(
                time_ns(),
                duration_ns,
                self._connect_ns,
                "" if error is None else self._stage,
                error,
                late,
            )
        ended(outcome)
        with self._lock:
            self._over.set()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


def _nobody(_outcome: Outcome) -> None:
    """Take nothing: the round is over."""

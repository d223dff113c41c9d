"""What waits for an exporter: bounded, sent by one worker, and every loss counted.

In: spans or log records, one at a time, from any thread. Out: batches to an exporter. What was put
in is delivered or counted in `Outbox.lost`, by reason: ``queue_full`` (the oldest gave way),
``export_failed`` (the exporter said so, or raised), ``rejected`` (the receiver took the rest),
``shutdown`` (not sent when time was up, or put in after it), ``error`` (an error of ours).
"""

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice, repeat, starmap
from queue import Empty
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_dbevents.exporters.greenlets import look_up_here
from otel_dbevents.forks import in_child
from otel_dbevents.signals import Signals, new_signals
from otel_dbevents.swallowing import Swallowing, came_through, told
from otel_dbevents.tally import shown
from otel_dbevents.threads import new_thread
from otel_dbevents.unreachable import tell_lost

T = TypeVar("T")
_log = logging.getLogger("otel_dbevents.exporters")

_LOOK_S: Final = 0.1
_SUPPRESS: Final = (
    getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_instrumentation",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, how much is sent at a time, and how long a part of a batch may wait.

    Raises `ValueError` where the SDK's batch processors do.
    """

    queue_size: int = 2048
    batch_size: int = 512
    delay_s: float = 5.0

    def __post_init__(self) -> None:
        if min(self.queue_size, self.batch_size, self.delay_s) <= 0:
            raise ValueError("queue size, batch size and schedule delay must be above 0")
        if self.batch_size > self.queue_size:
            raise ValueError(
                f"a batch of {self.batch_size} does not fit into a queue of {self.queue_size}"
            )


class Outbox(Generic[T]):
    """A bounded queue before an exporter, and the worker that empties it.

    ``export`` takes a batch and says whether it was delivered; it is called on the worker, never
    twice at a time, with instrumentation suppressed. ``what`` names the items in the log.

    `put` takes no lock, so that it may run within anything, a finalizer too. The worker is there
    from the start, as Python 3.12 starts none when the process ends; it ends with the outbox.
    """

    def __init__(self, export: Callable[[list[T]], bool], limits: Limits, what: str) -> None:
        self._export = export
        self._limits = limits
        self._what = what
        self._swallowing = Swallowing(f"outbox: {what}", _log)
        self._given_up = False
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child: what waits is the parent's to send."""
        self._items: deque[T] = deque(maxlen=self._limits.queue_size)
        self._append = self._items.append
        self._counter = count()
        self._tick = self._counter.__next__
        self._taken: int = 0
        self._in_flight: int = 0
        self._settled: int = 0
        self._counts: dict[str, int] = {}
        self._told: int = 0
        self._error: str = ""
        self._asleep: bool = True
        self._export_lock = threading.Lock()
        """Held while there is an export; whoever forks may wait for it (`forks.hold`)."""
        self._lock = threading.RLock()
        self._sent: threading.Condition = threading.Condition(self._lock)
        self._signals: Signals = new_signals()
        self._start(self._signals)

    def _start(self, signals: Signals) -> None:
        # The worker is woken to its end when we are collected.
        reference = weakref.ref(self, lambda _: signals.put(True))
        name = f"otel-dbevents-send-{self._what.replace(' ', '-')}"
        worker = new_thread(name, _work, reference, signals, self._limits.delay_s)
        with suppress(RuntimeError):  # too many threads: all is counted as lost then
            worker.start()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many items were lost, by reason; exact while no thread is within `put`."""
        with self._lock:
            counts = dict(self._counts)
            dropped = self._put_in() - self._taken - len(self._items)
            late = len(self._items) if self._given_up else 0
        if dropped > 0:
            counts["queue_full"] = dropped
        if late:
            counts["shutdown"] = counts.get("shutdown", 0) + late
        return counts

    def put(self, item: T) -> None:
        """Leave an item to be sent. Full, the oldest gives way. Never waits."""
        self._append(item)
        self._tick()
        if self._asleep and len(self._items) >= self._limits.batch_size:
            self._asleep = False
            self._signals.put(False)

    def put_all(self, items: Sequence[T]) -> None:
        """Leave many, as `put` does each."""
        self._items.extend(items)
        deque(islice(self._counter, len(items)), maxlen=0)  # as many ticks
        if self._asleep and len(self._items) >= self._limits.batch_size:
            self._asleep = False
            self._signals.put(False)

    def failed(self, error: Exception) -> None:
        """Count an item that could not be put in, for an error of ours."""
        self._count("error", 1)
        try:
            self._swallowing.caught(error, "%s could not be taken", self._what)
        finally:
            del error

    def reject(self, number: int, words: str) -> None:
        """Count items of a batch that is delivered but for them; what is said of it is logged."""
        self._count("rejected", number)
        self._error = f"the receiver said: {words}" if words else ""

    def flush(self, timeout: float) -> bool:
        """Send what is there now; False when ``timeout`` seconds ran out, or it was given up."""
        deadline = monotonic() + timeout
        target = self._put_in()
        while not self._reached(target):
            left = deadline - monotonic()
            if left <= 0 or self._given_up:
                return False
            self._signals.put(True)
            with self._sent:
                if not (self._reached(target) or self._given_up):
                    self._sent.wait(min(left, _LOOK_S))  # a signal's handler may have flushed
        return not self._given_up

    def close(self, timeout: float) -> bool:
        """Send what is there, then stop for good. False when something was given up."""
        done = self.flush(timeout)
        self.give_up()
        return done

    def give_up(self) -> None:
        """Stop for good, without waiting; what was not sent is lost. May be called twice."""
        with self._sent:
            if self._given_up:
                return
            self._given_up = True
            left = self._in_flight + len(self._take(len(self._items)))
            self._sent.notify_all()
        self._count("shutdown", left)
        self._signals.put(True)

    def go_on(self, everything: bool) -> bool:
        """Do the worker's work, whatever of it fails. False when the worker is to end."""
        try:
            return self.work(everything)
        except Exception as error:  # noqa: BLE001 - what comes next is sent all the same
            self._swallowing.caught(error, "sending %s failed", self._what)
            return not self._given_up

    def work(self, everything: bool) -> bool:
        """Send what is there, on the worker; with ``everything`` not only full batches.

        False when the worker is to end.
        """
        while not self._given_up:
            least = 1 if everything else self._limits.batch_size
            while len(self._items) >= least and not self._given_up:
                self._send()
            self._asleep = True
            if len(self._items) < self._limits.batch_size:
                break
            self._asleep, everything = False, False  # put in before it was said that we sleep
        self._tell()
        return not self._given_up

    def _reached(self, target: int) -> bool:
        with self._lock:
            return self._settled >= target or not (len(self._items) or self._in_flight)

    def _send(self) -> None:
        batch: list[T] = []
        position, delivered = 0, False
        try:
            with self._lock:
                if self._given_up:  # what comes after is lost, and counted as that
                    return
                batch = self._take(self._limits.batch_size)
                position = self._put_in() - len(self._items)
                self._in_flight = len(batch)
            delivered = self._deliver(batch)
        finally:
            self._count_sent(len(batch), delivered, position)
        self._tell()

    def _deliver(self, batch: list[T]) -> bool:
        try:
            look_up_here()
            with self._export_lock:
                return bool(batch) and self._export(batch)
        except BaseException as error:  # noqa: BLE001 - nothing an exporter does may end the worker
            told("exporter", error)
            self._error = f"the exporter raised {came_through(error)}"
            return False

    def _count_sent(self, number: int, delivered: bool, position: int) -> None:
        with self._sent:
            self._in_flight = 0
            if self._given_up:  # counted as lost meanwhile
                number = -number if delivered else 0
                reason = "shutdown"
            else:
                number = 0 if delivered else number
                reason = "export_failed"
            self._count(reason, number)
            self._settled = max(position, self._settled)
            self._sent.notify_all()

    def _take(self, most: int) -> list[T]:
        """Take out up to ``most`` items, the oldest first."""
        take, batch = self._items.popleft, list[T]()
        with self._lock:
            # Without a GIL a full deque has one too many for a moment, while one is put in.
            with suppress(IndexError):
                batch.extend(starmap(take, repeat((), min(most, len(self._items)))))
            self._taken += len(batch)
        return batch

    def _put_in(self) -> int:
        """How many items were put in since the beginning."""
        return shown(self._counter)

    def _count(self, reason: str, number: int) -> None:
        if number:
            with self._lock:
                self._counts[reason] = self._counts.get(reason, 0) + number

    def _tell(self) -> None:
        lost = self.lost
        if sum(lost.values()) > self._told and tell_lost(self._what, lost, self._error):
            self._told = sum(lost.values())


def _work(reference: "weakref.ref[Outbox[Any]]", signals: Signals, delay_s: float) -> None:
    context = Context()
    for key in _SUPPRESS:
        context = otel_context.set_value(key, True, context)
    otel_context.attach(context)
    while True:
        everything = True
        with suppress(Empty):
            everything = signals.get(timeout=delay_s)
        outbox = reference()
        if outbox is None or not outbox.go_on(everything):
            return
        del outbox

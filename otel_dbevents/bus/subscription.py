"""One subscriber of the bus in memory: its buffer, its worker, its losses."""

import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty
from time import monotonic
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_dbevents.bus import Idle, Item
from otel_dbevents.bus.buffer import Buffer
from otel_dbevents.bus.handlers import Deliver, Loop, suppressed
from otel_dbevents.bus.losses import Losses
from otel_dbevents.bus.unmade import deliveries_of, items_of, number_in
from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event
from otel_dbevents.signals import Signals, new_signals, suits
from otel_dbevents.swallowing import is_theirs
from otel_dbevents.threads import begin, new_thread

_BATCH = 512
_GATHER_SECONDS = 0.05
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 0.1


class MemorySubscription:
    """Holds what is published for one subscriber, and has a worker bring it there.

    The worker is started by the first event and sleeps without a time-out, unless it is to tell the
    consumer when nothing comes. Asleep, it holds no reference to this object, so that a bus that is
    dropped takes its threads along.

    What waits are events and drafts, which are brought as `Delivery`; where ``are_events`` is False
    it is anything, brought as it was put in. With ``seen`` the consumer takes plain drafts as they
    are: it says whether anybody else wants them as events.
    """

    def __init__(
        self,
        started: Callable[[threading.Thread], None],
        leave: "Callable[[MemorySubscription, bool], None]",
        name: str,
        types: tuple[type[Event], ...],
        capacity: int,
        deliver: Deliver,
        losses: Losses,
        loop: Loop | None = None,
        idle: Idle | None = None,
        *,
        are_events: bool = True,
        seen: Callable[[type[Draft]], bool] | None = None,
    ) -> None:
        self.name = name
        self.types = types
        self.losses = losses
        self.buffer: Buffer[Item] = Buffer(capacity)
        self._made_of: Callable[[Sequence[Any]], Sequence[Any]] = list
        if are_events:
            self.buffer = Buffer(capacity, partial(number_in, types=types))
            self._made_of = partial(deliveries_of, types=types)
        self.sees_events = seen is None
        if seen is not None:
            self._made_of = partial(items_of, types=types, seen=seen)
        self._capacity = capacity
        self._started = started
        self._leave = leave
        self._deliver = deliver
        self._loop = loop
        self._tell_idle = idle
        self._settled = 0
        self._stopping = False
        self._renew()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events this subscriber did not get, by reason."""
        counts = self.losses.counts()
        dropped = self.buffer.dropped()
        self.losses.tell_dropped(dropped, self._capacity)
        return counts | {"queue_full": dropped} if dropped else counts

    def cancel(self) -> None:
        """End the subscription. What is in its buffer is handled first. May be called twice."""
        self._leave(self, False)
        self.stop()

    @property
    def asleep(self) -> bool:
        """Whether the worker must be woken for what is put in the buffer."""
        return self.limit == 0

    @asleep.setter
    def asleep(self, asleep: bool) -> None:
        self.limit = 0 if asleep else self.buffer.capacity

    def attend(self) -> None:
        """Do what is to be done when there are more items than `limit`: trim, or wake."""
        if len(self.buffer.items) > self.buffer.capacity:
            self.buffer.trim()
        if self.asleep:
            self.wake()

    def wake(self, hurry: bool = False) -> bool:
        """Have the worker look at the buffer; started if there is none. False: none can be."""
        self.asleep = False
        try:
            while self._worker is None and self._starting.acquire(blocking=False):
                try:
                    if self._worker is None and not self._start():
                        self.asleep = True  # the next event tries again
                        return False
                finally:
                    self._starting.release()
            self._signals.put(hurry)
        except BaseException:  # no memory: nobody was woken
            self.asleep = True
            raise
        return True

    def nudge(self) -> None:
        """Have a worker that is there look at the buffer; from a finalizer, so none is started."""
        if self._worker is not None:
            self.asleep = False
            self._signals.put(False)

    def settle(self, target: int, deadline: float) -> bool:
        """Wait until the first ``target`` events put in are handled; False at the deadline."""
        if self._worker is threading.current_thread():
            return True
        while not self.reached(target):
            left = deadline - monotonic()
            if left <= 0:
                return False
            if not self.wake(hurry=True) and len(self.buffer):
                self._handle_here()
                continue
            with self._idle:
                if not self.reached(target):
                    # Not for all of it: a signal's handler that flushed may have come in between.
                    self._idle.wait(min(left, _LOOK_SECONDS))
        return True

    def waiting(self) -> Sequence[Any]:
        """Return what is in the buffer, as it is going to be brought; for the worker alone."""
        return self._made_of(list(self.buffer.items.copy()))

    def stop(self) -> None:
        """Have the worker end when its buffer is empty."""
        self._stopping = True
        if self._worker is not None or len(self.buffer):
            self.wake(hurry=True)
        else:
            self._leave(self, True)

    def restart(self) -> None:
        """Begin anew in a forked child."""
        self.buffer.forget()
        self.losses.renew()
        if self._loop is not None:
            self._loop.renew()
        self._renew()

    def _renew(self) -> None:
        self.limit = 0
        """With more items than this in the buffer, who puts one in is to `attend`: 0 in sleep."""
        self._starting = threading.Lock()
        self._worker: threading.Thread | None = None
        self._busy = False
        self._renew_signals()

    def _renew_signals(self) -> None:
        self._idle = threading.Condition()
        self._signals: Signals = new_signals()

    def _start(self) -> bool:
        if sys.is_finalizing():  # a thread started now would never begin, and we would wait for it
            return False
        if not suits(self._signals):
            self._renew_signals()
        signals = self._signals
        # The worker is woken to its end when we are collected.
        reference = weakref.ref(self, lambda _: signals.put(True))
        name = f"otel-dbevents-{self.name}"
        worker = new_thread(name, _work, reference, signals, self._loop)
        self._worker = worker
        try:
            begin(worker)
        except BaseException as error:  # the process ends, no memory, too many threads
            self._worker = None  # if Ctrl-C came when it had begun, it sees that, and ends
            if is_theirs(error) or not isinstance(error, Exception):
                raise
            return False
        self._started(worker)
        return True

    def reached(self, target: int) -> bool:
        """Whether the first ``target`` events put in are handled."""
        # In this order: a worker says that it is busy before it takes anything out.
        return self._settled >= target or not (len(self.buffer) or self._busy)

    @property
    def patience(self) -> float | None:
        """For how many seconds after a batch another is waited for; None: for ever."""
        return None if self._tell_idle is None else _IDLE_SECONDS

    def be_idle(self) -> None:
        """Tell the consumer that nothing more comes for now."""
        if self._tell_idle is None:
            return
        try:
            self._tell_idle()
        except BaseException as error:  # noqa: BLE001 - nothing may end the worker
            self.losses.add("handler_error", 1, error)

    def work(self, hurry: bool) -> bool:
        """Handle what there is, on the worker; False when it is to end."""
        while True:
            if len(self.buffer) and not (hurry or self._stopping):
                self._gather()
            while len(self.buffer):
                self._handle()
            self.asleep = True
            if not len(self.buffer):
                break
            self.asleep = False  # put in before it was said that we sleep
        if self._stopping:
            self._end()
            return False
        return True

    def died(self, error: BaseException) -> None:
        """Let the next event, or who waits, start another worker, as this one ends here."""
        self._busy = False
        self._worker = None
        self.asleep = True
        with suppress(Exception), self._idle:
            self._idle.notify_all()
        self.losses.add("handler_error", 0, error)

    def _gather(self) -> None:
        """Let a batch come together, unless somebody waits for it."""
        until = monotonic() + _GATHER_SECONDS
        with suppress(Empty):
            while not self._signals.get(timeout=max(0.0, until - monotonic())):
                pass

    def _handle(self) -> None:
        self._busy = True
        position, number = self._settled, 0
        try:
            batch, position = self.buffer.drain(_BATCH)
            number = len(batch)
            if position - self._settled > number:  # more is gone than was taken
                self.losses.tell_dropped(self.buffer.dropped(), self._capacity)
            deliveries = self._made_of(batch)
            number = len(deliveries)
            self._deliver(deliveries)
        except BaseException as error:  # noqa: BLE001 - nothing may end the worker
            self.losses.add("handler_error", number, error)
        finally:
            with self._idle:
                self._settled = position
                self._busy = False
                self._idle.notify_all()

    def _handle_here(self) -> None:
        """Handle a batch on the caller's thread: the last resort where no worker can be had."""
        token = otel_context.attach(suppressed(Context()))
        try:
            self._handle()
            self.be_idle()
        finally:
            otel_context.detach(token)

    def _end(self) -> None:
        self.be_idle()
        if self._loop is not None:
            self._loop.close()
        self._worker = None
        # What was put in by a thread that still took us for awake is another worker's.
        if len(self.buffer) and self.wake(hurry=True):
            return
        self._leave(self, True)


def _work(
    reference: "weakref.ref[MemorySubscription]", signals: Signals, loop: Loop | None
) -> None:
    # A context of its own, whoever started the thread: what it does belongs to no span.
    try:
        otel_context.attach(suppressed(Context()))
        _serve(reference, signals, loop)
    except BaseException as error:  # noqa: BLE001 - no memory, or what else there may be
        subscription = reference()
        if subscription is not None:
            subscription.died(error)


def _serve(
    reference: "weakref.ref[MemorySubscription]", signals: Signals, loop: Loop | None
) -> None:
    patience, this = None, threading.current_thread()
    while True:
        hurry = _next(signals, patience)
        subscription = reference()
        if subscription is None:
            break
        if subscription._worker is not this:
            signals.put(bool(hurry))  # it is for the one that is in our place
            return
        patience = None
        if hurry is None:
            subscription.be_idle()
        elif subscription.work(hurry):
            patience = subscription.patience
        else:
            return
        del subscription
    if loop is not None:
        loop.close()


def _next(signals: Signals, patience: float | None) -> bool | None:
    """Wait for a signal; None when ``patience`` seconds ran out."""
    with suppress(Empty):
        return signals.get(timeout=patience)
    return None

"""The bus in memory: a buffer and a worker for each subscriber, nothing shared but the event."""

import asyncio
import inspect
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, TypeAlias

from opentelemetry import context as otel_context

from otel_dbevents.bus import Consumer, Delivery, E, Handler, InlineHandler
from otel_dbevents.bus.buffer import Buffer
from otel_dbevents.events import Event

_BATCH = 512
_GATHER_SECONDS = 0.05
_SUPPRESS = (
    getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_instrumentation",
)
_log = logging.getLogger("otel_dbevents.bus")

_Deliver: TypeAlias = Callable[[Sequence[Delivery]], None]


class _Losses:
    """What a subscriber did not get, by reason, beside what its buffer dropped."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._silent_until = 0.0

    def add(self, reason: str, number: int, error: BaseException | None = None) -> None:
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + number
            now = monotonic()
            if error is None or now < self._silent_until:
                return
            self._silent_until = now + 60
        _log.warning(
            "%s failed, and %d events so far were lost by it", self._name,
            self._counts[reason], exc_info=error,
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class MemorySubscription:
    """One subscriber: its buffer, its worker, its losses."""

    def __init__(
        self,
        bus: "MemoryBus",
        name: str,
        types: tuple[type[Event], ...],
        capacity: int,
        deliver: _Deliver,
        losses: _Losses,
    ) -> None:
        self.name = name
        self.types = types
        self.buffer: Buffer[Delivery] = Buffer(capacity)
        self.asleep = True
        """Whether the worker must be woken for what is put in the buffer."""
        self._bus = bus
        self._deliver = deliver
        self._losses = losses
        self._worker: threading.Thread | None = None
        self._busy = self._stopping = False
        self._renew()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events this subscriber did not get, by reason."""
        counts = self._losses.counts()
        dropped = self.buffer.dropped()
        return counts | {"queue_full": dropped} if dropped else counts

    def cancel(self) -> None:
        """End the subscription. What is in its buffer is handled first. May be called twice."""
        self._bus._remove(self)
        self.stop()

    def wants(self, kind: type[Event]) -> bool:
        """Whether events of this type are meant for it."""
        return not self.types or issubclass(kind, self.types)

    def wake(self) -> None:
        """Have the worker look at the buffer; started now if there is none."""
        self.asleep = False
        if self._worker is None:
            with self._lock:
                if self._worker is None:
                    worker = threading.Thread(
                        target=self._run, name=f"otel-dbevents-{self.name}", daemon=True
                    )
                    worker.start()
                    self._worker = worker
        self._woken.set()

    def settle(self, deadline: float) -> bool:
        """Wait until the buffer is empty and the worker idle; False at the deadline."""
        if self._worker is threading.current_thread():
            return True
        with self._idle:
            while self._busy or len(self.buffer):
                self._hurry.set()
                self.wake()
                if not self._idle.wait(max(0.0, deadline - monotonic())):
                    return not (self._busy or len(self.buffer))
        return True

    def stop(self) -> None:
        """Have the worker end when its buffer is empty."""
        self._stopping = True
        self._hurry.set()
        self._woken.set()

    def restart(self) -> None:
        """Begin anew in a forked child."""
        self.buffer.forget()
        self._renew()
        self.asleep = True

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._idle = threading.Condition()
        self._woken, self._hurry = threading.Event(), threading.Event()
        self._worker = None
        self._busy = self._stopping = False

    def _run(self) -> None:
        context = otel_context.get_current()
        for key in _SUPPRESS:
            context = otel_context.set_value(key, True, context)
        otel_context.attach(context)
        while self._await():
            if not self._hurry.wait(_GATHER_SECONDS if not self._stopping else 0):
                pass
            self._hurry.clear()
            while self._handle():
                pass

    def _await(self) -> bool:
        """Sleep until there is something to do; False when the worker is to end."""
        while not len(self.buffer):
            if self._stopping:
                return False
            self._woken.clear()
            self.asleep = True
            if len(self.buffer) or self._stopping:  # put in before it was said that we sleep
                self.asleep = False
                continue
            self._woken.wait()
        self.asleep = False
        return True

    def _handle(self) -> bool:
        self._busy = True
        try:
            batch = self.buffer.drain(_BATCH)
            if batch:
                self._deliver(batch)
        except BaseException as error:  # noqa: BLE001 - nothing may end the worker
            self._losses.add("handler_error", len(batch), error)
        finally:
            self._busy = False
            with self._idle:
                self._idle.notify_all()
        return bool(len(self.buffer))


class MemoryBus:
    """The `EventBus` within one process.

    Args:
        history: how many of the last events are remembered; 0 turns it off.
        capacity: the size of a subscriber's buffer in events, where it does not name one.
        synchronous: consumers and plain handlers run within `publish`, on the caller's thread;
            what they publish in turn follows after. Coroutine handlers still run beside.

    Raises `ValueError` when ``history`` is negative or ``capacity`` below 1.

    """

    def __init__(
        self, *, history: int = 1000, capacity: int = 20_000, synchronous: bool = False
    ) -> None:
        if history < 0:
            raise ValueError(f"history takes a number of events, 0 or more; got {history}")
        if capacity < 1:
            raise ValueError(f"capacity takes a number of events, 1 or more; got {capacity}")
        self._capacity = capacity
        self._synchronous = synchronous
        self._history: deque[Event] | None = deque(maxlen=history) if history else None
        self._lock = threading.Lock()
        self._subscriptions: tuple[MemorySubscription, ...] = ()
        self._direct: tuple[_Direct, ...] = ()
        self._inline: tuple[_Direct, ...] = ()
        self._routes: dict[type[Event], tuple[MemorySubscription, ...]] = {}
        self._at_once: dict[type[Event], tuple[_Direct, ...]] = {}
        self._ended: dict[str, int] = {}
        self._losses = _Losses("the bus")
        self._closed = False
        self._turn = threading.local()
        if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has no fork
            again = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (renew := again()) and renew())

    def publish(self, event: Event, context: Any = None) -> None:
        """Hand an event to all subscribers. Never raises, never waits."""
        if self._closed:
            self._losses.add("closed", 1)
            return
        kind = type(event)
        routes = self._routes.get(kind)
        if routes is None:
            routes = self._route(kind)
        if self._history is not None:
            self._history.append(event)
        item = (event, context)
        for subscription in routes:
            subscription.buffer.append(item)
            subscription.buffer.tick()
            if subscription.asleep:
                try:
                    subscription.wake()
                except RuntimeError as error:  # the interpreter is ending: no thread is started
                    self._losses.add("no_worker", 1, error)
        if self._at_once.get(kind):
            self._deliver_at_once(kind, item)

    def subscribe(
        self, consumer: Consumer, *types: type[Event], name: str = "", capacity: int = 0
    ) -> "MemorySubscription | _Direct":
        """Have batches of these types (of all, when none is named) brought to ``consumer``.

        Raises `ValueError` when ``capacity`` is negative.
        """
        name = name or getattr(consumer, "__qualname__", type(consumer).__name__)
        if self._synchronous:
            return self._add_direct(_Direct(self, name, types, lambda e, c: consumer([(e, c)])))
        return self._add(name, types, capacity, consumer, _Losses(name))

    def handle(
        self, handler: Handler[E], *types: type[E], capacity: int = 0
    ) -> "MemorySubscription | _Direct":
        """Have single events of these types (of all, when none is named) brought to ``handler``.

        A coroutine function is awaited on the event loop that runs where ``handle`` is called, or,
        where none runs, on a loop of its own. Raises `ValueError` when ``capacity`` is negative.
        """
        name = getattr(handler, "__qualname__", type(handler).__name__)
        losses = _Losses(name)
        if _is_async(handler):
            deliver = _one_by_one(_awaiting(handler), losses)
        elif self._synchronous:
            call: Any = handler
            return self._add_direct(_Direct(self, name, types, lambda e, _: call(e)))
        else:
            deliver = _one_by_one(handler, losses)
        return self._add(name, types, capacity, deliver, losses)

    def subscribe_inline(self, handler: InlineHandler, *types: type[Event]) -> "_Direct":
        """Have ``handler`` called within ``publish``, for what must write on a span still open."""
        name = getattr(handler, "__qualname__", type(handler).__name__)
        inline = _Direct(self, name, types, handler)
        with self._lock:
            self._inline = (*self._inline, inline)
            self._reroute()
        return inline

    @property
    def history(self) -> Sequence[Event]:
        """The last events published, oldest first; empty when history is off."""
        return tuple(self._history.copy()) if self._history is not None else ()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many deliveries failed, by reason, over all subscribers that there were."""
        total = dict(self._ended)
        for source in (self._losses.counts(), *(s.lost for s in self._everybody())):
            for reason, number in source.items():
                total[reason] = total.get(reason, 0) + number
        return total

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was published is handled; False when ``timeout`` seconds ran out.

        What handlers publish meanwhile is waited for too. A handler that flushes does not wait for
        itself. On an event loop that handlers are awaited on, it can only run out of time.
        """
        deadline = monotonic() + timeout
        while True:
            settled = [each.settle(deadline) for each in self._subscriptions]
            if not all(settled):
                return False
            if all(not len(each.buffer) for each in self._subscriptions):
                return True
            if monotonic() >= deadline:
                return False

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, then stop for good; False when something was left."""
        if self._closed:
            return True
        done = self.flush(timeout)
        self._closed = True
        for subscription in self._subscriptions:
            subscription.stop()
        return done

    def _add(
        self,
        name: str,
        types: tuple[type[Event], ...],
        capacity: int,
        deliver: _Deliver,
        losses: _Losses,
    ) -> MemorySubscription:
        if capacity < 0:
            raise ValueError(f"capacity takes a number of events, 0 or more; got {capacity}")
        made = MemorySubscription(self, name, types, capacity or self._capacity, deliver, losses)
        with self._lock:
            self._subscriptions = (*self._subscriptions, made)
            self._reroute()
        return made

    def _add_direct(self, direct: "_Direct") -> "_Direct":
        with self._lock:
            self._direct = (*self._direct, direct)
            self._reroute()
        return direct

    def _remove(self, gone: "MemorySubscription | _Direct") -> None:
        with self._lock:
            if gone in self._everybody():
                for reason, number in gone.lost.items():
                    self._ended[reason] = self._ended.get(reason, 0) + number
            self._subscriptions = tuple(s for s in self._subscriptions if s is not gone)
            self._direct = tuple(s for s in self._direct if s is not gone)
            self._inline = tuple(s for s in self._inline if s is not gone)
            self._reroute()

    def _everybody(self) -> "tuple[MemorySubscription | _Direct, ...]":
        return (*self._subscriptions, *self._direct, *self._inline)

    def _reroute(self) -> None:
        """Forget the routes: they are made anew for each type as it comes."""
        self._routes, self._at_once = {}, {}

    def _route(self, kind: type[Event]) -> tuple[MemorySubscription, ...]:
        with self._lock:
            at_once = (*self._inline, *self._direct)
            self._at_once[kind] = tuple(each for each in at_once if each.wants(kind))
            routes = tuple(each for each in self._subscriptions if each.wants(kind))
            self._routes[kind] = routes
        return routes

    def _deliver_at_once(self, kind: type[Event], item: Delivery) -> None:
        """Call inline and synchronous handlers; what they publish waits for its turn."""
        waiting: deque[tuple[type[Event], Delivery]] | None = getattr(self._turn, "waiting", None)
        if waiting is not None:
            waiting.append((kind, item))
            return
        waiting = self._turn.waiting = deque([(kind, item)])
        try:
            while waiting:
                kind, (event, context) = waiting.popleft()
                for direct in self._at_once.get(kind, ()):
                    direct.call(event, context)
        finally:
            self._turn.waiting = None

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.local()
        for subscription in self._subscriptions:
            subscription.restart()


class _Direct:
    """A handler that is called within `publish`."""

    def __init__(
        self, bus: MemoryBus, name: str, types: tuple[type[Event], ...], handler: InlineHandler
    ) -> None:
        self._bus = bus
        self._types = types
        self._handler = handler
        self._losses = _Losses(name)

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events failed in the handler."""
        return self._losses.counts()

    def cancel(self) -> None:
        """End the subscription. May be called twice."""
        self._bus._remove(self)

    def wants(self, kind: type[Event]) -> bool:
        """Whether events of this type are meant for it."""
        return not self._types or issubclass(kind, self._types)

    def call(self, event: Event, context: Any) -> None:
        """Call the handler, and let nothing pass that it raises."""
        try:
            self._handler(event, context)
        except Exception as error:  # noqa: BLE001 - it runs within the application's call
            self._losses.add("handler_error", 1, error)


def _is_async(handler: Any) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def _one_by_one(handler: Callable[[Any], Any], losses: _Losses) -> _Deliver:
    """Bring a batch to a handler of single events: one that fails costs itself only."""

    def deliver(batch: Sequence[Delivery]) -> None:
        for event, _ in batch:
            try:
                handler(event)
            except BaseException as error:  # noqa: BLE001 - nothing may end the worker
                losses.add("handler_error", 1, error)

    return deliver


def _awaiting(handler: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Return a plain handler that awaits ``handler`` on the loop that runs now, or on its own."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        runner = asyncio.Runner()
        return lambda event: runner.run(handler(event))

    def call(event: Any) -> None:
        coroutine = handler(event)
        try:
            asyncio.run_coroutine_threadsafe(coroutine, running).result()
        except RuntimeError:  # that loop is closed
            coroutine.close()
            raise

    return call

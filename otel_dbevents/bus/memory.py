"""The bus in memory: a buffer and a worker for each subscriber, nothing shared but the event."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeAlias, overload

from otel_dbevents.bus import (
    Consumer,
    Delivery,
    E,
    Handler,
    Idle,
    InlineHandler,
    Item,
    Taker,
    Wanted,
)
from otel_dbevents.bus.handlers import (
    Deliver,
    Direct,
    Loop,
    at_once,
    is_async,
    name_of,
    not_awaiting,
    one_by_one,
)
from otel_dbevents.bus.history import History
from otel_dbevents.bus.losses import Losses
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.bus.within import Within, is_wanted
from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event
from otel_dbevents.forks import in_child
from otel_dbevents.tally import Tally

_ROUNDS = 16

_Queued: TypeAlias = tuple[Callable[[Item], None], deque[Item], MemorySubscription]
_Route: TypeAlias = tuple[tuple[_Queued, ...], tuple[Direct, ...]]
"""Where events of a type go: the buffers' ``append`` and items; what is called at once."""


class MemoryBus:
    """The `EventBus` within one process.

    A bus that is no longer referenced ends its workers, once they have handled what they had.

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
        _check("history", history, 0)
        _check("capacity", capacity, 1)
        self._capacity = capacity
        self._synchronous = synchronous
        self._history = History(history) if history else None
        # Held twice by one thread when an object that is collected meanwhile publishes.
        self._lock = threading.RLock()
        self._subscriptions: tuple[MemorySubscription, ...] = ()
        self._leaving: tuple[MemorySubscription, ...] = ()
        self._workers: tuple[threading.Thread, ...] = ()
        self._direct: tuple[Direct, ...] = ()
        self._inline: tuple[Direct, ...] = ()
        self._routes: dict[type[Event | Draft], _Route] = {}
        self._within = Within(capacity)
        self._late = Tally()
        """What finalizers published after the end."""
        self._dropped = 0
        self._losses = Losses("the bus")
        self._closed = False
        in_child(self._begin_anew)

    def publish(self, event: Event, context: Any = None) -> None:
        """Hand an event to all subscribers. Never raises, never waits."""
        routes = self._routes
        route = routes.get(type(event))
        if route is None:
            if self._closed:
                self._losses.add("closed", 1)
                return
            route = routes[type(event)] = self._find_route(type(event))
            self._within.deliver_left()
        if self._history is not None:
            self._history.append(event)
        item = (event, context)
        queued, at_once = route
        for append, items, subscription in queued:
            append(item)
            if len(items) > subscription.limit:
                subscription.attend()
        if at_once:
            self._within.deliver(at_once, item)

    def publish_draft(self, draft: Draft) -> None:
        """Hand over events that are still to be made. Never raises, never waits.

        They are made by the first of the subscribers' workers that comes to them; here only where
        a handler is to be called at once. They take one place in a buffer.
        """
        routes = self._routes
        route = routes.get(type(draft))
        if route is None:
            if self._closed:
                self._losses.add("closed", len(draft.kinds))
                return
            route = routes[type(draft)] = self._find_route(type(draft))
            self._within.deliver_left()
        queued, at_once = route
        if at_once and is_wanted(at_once, draft.context, self._losses):
            for event in draft.events():
                self.publish(event, draft.context)
            return
        if self._history is not None:
            self._history.append(draft)
        for append, items, subscription in queued:
            append(draft)
            if len(items) > subscription.limit:
                subscription.attend()

    def publish_from_finalizer(self, event: Event, context: Any = None) -> None:
        """Hand an event over from a finalizer, which may run within anybody's locked region.

        Never raises, never waits; only calls into C, no lock, no handler, no new thread.
        """
        if self._closed:
            self._late.tick()
            return
        queued, at_once = self._routes.get(type(event)) or self._find_route(type(event))
        if self._history is not None:
            self._history.append(event)
        item = (event, context)
        for append, items, subscription in queued:
            append(item)
            if len(items) > subscription.buffer.capacity:
                subscription.buffer.trim()
            if subscription.asleep:
                subscription.nudge()
        if at_once:
            self._within.leave(at_once, item)
            self._routes = {}  # so that the next publish comes by what was left

    @overload
    def subscribe(
        self,
        consumer: Consumer,
        /,
        *types: type[Event],
        name: str = "",
        capacity: int = 0,
        idle: Idle | None = None,
    ) -> MemorySubscription | Direct: ...

    @overload
    def subscribe(
        self, kind: type[E], handler: Handler[E], /, *, capacity: int = 0
    ) -> MemorySubscription | Direct: ...

    def subscribe(
        self,
        consumer: Any,
        /,
        *types: Any,
        name: str = "",
        capacity: int = 0,
        idle: Idle | None = None,
    ) -> MemorySubscription | Direct:
        """Have batches of these types (of all, when none is named) brought to ``consumer``.

        ``idle`` is called when nothing has come for a second after a batch. With a type first and
        a handler after it, it is `handle`. Raises `ValueError` when ``capacity`` is negative,
        `TypeError` for what is no consumer or no event type.
        """
        if isinstance(consumer, type) and issubclass(consumer, Event):
            if name or idle or len(types) != 1:
                raise TypeError("after an event's type subscribe() takes one handler: see handle()")
            return self.handle(types[0], consumer, capacity=capacity)
        _check_subscriber("consumer", consumer, types, capacity)
        if idle is not None:
            _check_subscriber("idle", idle, (), 0)
        losses = Losses(name or name_of(consumer), self._losses)
        if self._synchronous:
            return self._add_direct(types, at_once(consumer, idle), losses)
        return self._add(name or name_of(consumer), types, capacity, consumer, losses, idle=idle)

    def subscribe_drafts(
        self, taker: Taker, /, *types: type[Event], name: str = "", idle: Idle | None = None
    ) -> MemorySubscription | Direct:
        """Have batches brought to ``taker``, in which plain drafts may still be what they are.

        They are that where nobody but takers has subscribed to their events, and there is no
        history: an event is made for all, or for none. Else as `subscribe`.
        """
        if self._synchronous:
            return self.subscribe(taker, *types, name=name, idle=idle)
        _check_subscriber("taker", taker, types, 0)
        name = name or name_of(taker)
        losses = Losses(name, self._losses)
        return self._add(name, types, 0, taker, losses, idle=idle, seen=self._is_seen)

    def handle(
        self, handler: Handler[E], *types: type[E], capacity: int = 0
    ) -> MemorySubscription | Direct:
        """Have single events of these types (of all, when none is named) brought to ``handler``.

        A coroutine function is awaited on the event loop that runs where ``handle`` is called, or,
        where none runs, on a loop of its own. Raises `ValueError` when ``capacity`` is negative,
        `TypeError` for what is no handler or no event type.
        """
        _check_subscriber("handler", handler, types, capacity)
        call: Any = handler
        name = name_of(handler)
        losses = Losses(name, self._losses)
        if is_async(handler):
            loop = Loop()
            deliver = one_by_one(lambda event: loop.run(call(event)), losses)
            return self._add(name, types, capacity, deliver, losses, loop)
        plain = not_awaiting(call)
        if self._synchronous:
            return self._add_direct(types, lambda e, _: plain(e), losses)
        return self._add(name, types, capacity, one_by_one(plain, losses), losses)

    def subscribe_inline(
        self, handler: InlineHandler, *types: type[Event], wanted: Wanted | None = None
    ) -> Direct:
        """Have ``handler`` called within ``publish``, for what must write on a span still open.

        Where ``wanted`` says no, an event that is not made yet is not made for this handler, which
        is then one that uses no database: instrumentation is not suppressed for it.
        Raises `TypeError` for what is no handler or no event type.
        """
        _check_subscriber("handler", handler, types, 0)
        losses = Losses(name_of(handler), self._losses)
        inline = Direct(self._leave_direct, types, handler, losses, wanted)
        with self._lock:
            self._inline = (*self._inline, inline)
            self._routes = {}
        return inline

    @property
    def history(self) -> Sequence[Event]:
        """The last events published, oldest first; empty when history is off."""
        return () if self._history is None else self._history.events()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many deliveries failed, by reason, over all subscribers that there were."""
        with self._lock:
            those, dropped = (*self._subscriptions, *self._leaving), self._dropped
        # A buffer's lock is not asked for under ours.
        dropped += sum(each.buffer.dropped() for each in those) + self._within.dropped()
        counts = self._losses.counts()
        if late := self._late.total():
            counts["closed"] = counts.get("closed", 0) + late
        return counts | {"queue_full": dropped} if dropped else counts

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was published is handled; False when ``timeout`` seconds ran out.

        What handlers publish meanwhile is waited for too, up to 16 links of a chain; what other
        threads publish meanwhile is not. A handler that flushes does not wait for itself. On an
        event loop that handlers are awaited on, it can only run out of time.
        """
        deadline = monotonic() + timeout
        self._within.deliver_left()
        before: list[tuple[MemorySubscription, int]] = []
        for _ in range(_ROUNDS):
            everybody = (*self._subscriptions, *self._leaving)
            targets = [(each, each.buffer.put_in()) for each in everybody]
            if targets == before:  # nothing came while we waited
                break
            settled = [each.settle(target, deadline) for each, target in targets]
            if not all(settled):
                return False
            before = targets
        return True

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, then stop for good; False when something was left."""
        deadline = monotonic() + timeout
        done = self.flush(timeout)
        self._closed = True
        self._routes = {}
        everybody = (*self._subscriptions, *self._leaving)
        for subscription in everybody:
            subscription.stop()
        return self._join(deadline) and done

    def _add(
        self,
        name: str,
        types: tuple[type[Event], ...],
        capacity: int,
        deliver: Deliver,
        losses: Losses,
        loop: Loop | None = None,
        idle: Idle | None = None,
        seen: Callable[[type[Draft]], bool] | None = None,
    ) -> MemorySubscription:
        made = MemorySubscription(
            self._started,
            self._leave,
            name,
            types,
            capacity or self._capacity,
            deliver if self._history is None else _then(deliver, self._history.settle),
            losses,
            loop,
            idle,
            seen=seen,
        )
        with self._lock:
            self._subscriptions = (*self._subscriptions, made)
            self._routes = {}
        return made

    def _add_direct(
        self, types: tuple[type[Event], ...], handler: InlineHandler, losses: Losses
    ) -> Direct:
        direct = Direct(self._leave_direct, types, handler, losses)
        with self._lock:
            self._direct = (*self._direct, direct)
            self._routes = {}
        return direct

    def _started(self, worker: threading.Thread) -> None:
        with self._lock:
            self._workers = (*(each for each in self._workers if each.is_alive()), worker)

    def _join(self, deadline: float) -> bool:
        """Wait until all workers have ended; False at the deadline. None waits for itself."""
        this = threading.current_thread()
        while alive := [each for each in self._workers if each.is_alive() and each is not this]:
            alive[0].join(max(0.0, deadline - monotonic()))
            if alive[0].is_alive():
                return False
        return True

    def _leave(self, gone: MemorySubscription, ended: bool) -> None:
        """Send no more events to a subscriber; forget it when its worker has ended."""
        dropped = gone.buffer.dropped() if ended else 0
        with self._lock:
            if not ended and gone in self._subscriptions:
                self._subscriptions = tuple(s for s in self._subscriptions if s is not gone)
                self._leaving = (*self._leaving, gone)
                self._routes = {}
            elif ended and gone in self._leaving:
                self._leaving = tuple(s for s in self._leaving if s is not gone)
                self._dropped += dropped

    def _leave_direct(self, gone: Direct) -> None:
        with self._lock:
            self._direct = tuple(s for s in self._direct if s is not gone)
            self._inline = tuple(s for s in self._inline if s is not gone)
            self._routes = {}

    def _find_route(self, kind: type[Event | Draft]) -> _Route:
        """Find out where events of a type go, once; forgotten when a subscriber comes or goes.

        No lock is needed: who comes or goes, or closes the bus, puts new routes in place after
        that, so that what was found before is kept where nobody looks any more.
        """
        kinds = kind.kinds if issubclass(kind, Draft) else (kind,)
        wanted = partial(_is_any_of, kinds)
        queued = tuple(
            (each.buffer.append, each.buffer.items, each)
            for each in self._subscriptions
            if wanted(each.types)
        )
        return queued, tuple(each for each in (*self._inline, *self._direct) if wanted(each.types))

    def _is_seen(self, kind: type[Draft]) -> bool:
        """Whether anybody is to have the events of such drafts that have been published by now.

        Who left has handled all, or is still ``leaving``; who comes after this gets none of them.
        """
        if self._history is not None:
            return True
        with self._lock:
            those = (*self._subscriptions, *self._leaving)
        return any(each.sees_events and _is_any_of(kind.kinds, each.types) for each in those)

    def _begin_anew(self) -> None:
        """Begin empty in a forked child, which has no worker: what was there is the parent's."""
        self._lock = threading.RLock()
        self._within.begin_anew()
        self._leaving, self._workers, self._dropped = (), (), 0
        self._late = Tally()
        if self._history is not None:
            self._history.forget()
        self._losses.renew()
        for direct in (*self._direct, *self._inline):
            direct.losses.renew()
        for subscription in self._subscriptions:
            subscription.restart()


def _is_any_of(kinds: tuple[type[Event], ...], types: tuple[type[Event], ...]) -> bool:
    return not types or any(issubclass(each, types) for each in kinds)


def _then(deliver: Deliver, settle: Callable[[], None]) -> Deliver:
    def delivered(batch: Sequence[Delivery]) -> object:
        try:
            return deliver(batch)
        finally:
            settle()

    return delivered


def _check(name: str, number: object, least: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"{name} takes a number of events, {least} or more; got {number!r}")


def _check_subscriber(
    what: str, subscriber: object, types: tuple[object, ...], capacity: object
) -> None:
    if not callable(subscriber):
        raise TypeError(f"{what} takes a function; got {subscriber!r}")
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"types takes classes of events; got {kind!r}")
    _check("capacity", capacity, 0)

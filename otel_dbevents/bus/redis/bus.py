"""RedisBus: the `EventBus` over a stream, both ends of it in this process.

    publish -> bus in memory -> Sender -> Redis -> Reader -> bus in memory -> subscribers

All of its processes see all events. What is on its way when a subscriber comes reaches it too, and
what is on its way when one leaves does not; the caller's context does not come along. What
subscribers missed is in ``lost`` as in memory, and what the way lost beside it.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, overload

from otel_dbevents.bus import (
    Consumer,
    Delivery,
    E,
    Handler,
    Idle,
    InlineHandler,
    Subscription,
)
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.redis.connecting import Backoff, RedisSetupError, check_package
from otel_dbevents.bus.redis.group import order
from otel_dbevents.bus.redis.reader import Held, Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.events import Event, new_id
from otel_dbevents.forks import in_child
from otel_dbevents.swallowing import told
from otel_dbevents.threads import new_thread

_ROUNDS: Final = 16
_READ: Final = 50
_WAIT_S: Final = 0.05


class RedisBus:
    """The `EventBus` on one stream.

    Args:
        url: of the Redis; nothing is connected before the first event.
        stream: the stream's name.
        keys: sign and verify each entry.
        history: how many of the last events that were published here are remembered.
        capacity: the size of a subscriber's buffer in events, where it does not name one.
        waiting: how many events may wait for Redis.

    """

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        keys: Keyring | None = None,
        history: int = 1000,
        capacity: int = 20_000,
        waiting: int = 20_000,
    ) -> None:
        self._url, self._stream, self._keys = url, stream, keys
        with suppress(RedisSetupError):  # it is told of where it is used
            check_package()  # imports it: at the end of a process it could not be
        self._near = MemoryBus(history=history, capacity=waiting)
        self._far = MemoryBus(history=0, capacity=capacity)
        self._sender = Sender(url, stream, keys=keys)
        self._shipping = self._near.subscribe(self._ship, name="redis")
        self._begin_anew()
        in_child(self._begin_anew)

    def publish(self, event: Event, context: Any = None) -> None:
        """Hand an event to all subscribers. Never raises, never waits."""
        self._near.publish(event, context)

    def publish_from_finalizer(self, event: Event, context: Any = None) -> None:
        """Hand an event over from a finalizer. Never raises, never waits, takes no lock."""
        self._near.publish_from_finalizer(event, context)

    @overload
    def subscribe(
        self,
        consumer: Consumer,
        /,
        *types: type[Event],
        name: str = "",
        capacity: int = 0,
        idle: Idle | None = None,
    ) -> Subscription: ...

    @overload
    def subscribe(
        self, kind: type[E], handler: Handler[E], /, *, capacity: int = 0
    ) -> Subscription: ...

    def subscribe(
        self,
        consumer: Any,
        /,
        *types: Any,
        name: str = "",
        capacity: int = 0,
        idle: Idle | None = None,
    ) -> Subscription:
        """Have batches of these types brought to ``consumer``; see `EventBus.subscribe`."""
        return self._far.subscribe(consumer, *types, name=name, capacity=capacity, idle=idle)

    def handle(self, handler: Handler[E], *types: type[E], capacity: int = 0) -> Subscription:
        """Have single events of these types brought to ``handler``; see `EventBus.handle`."""
        return self._far.handle(handler, *types, capacity=capacity)

    def subscribe_inline(self, handler: InlineHandler, *types: type[Event]) -> Subscription:
        """Have ``handler`` called within ``publish``, for what is published in this process."""
        return self._near.subscribe_inline(handler, *types)

    @property
    def history(self) -> Sequence[Event]:
        """The last events published here, oldest first; empty when history is off."""
        return self._near.history

    @property
    def lost(self) -> Mapping[str, int]:
        """How many deliveries failed, by reason, over all subscribers and on the way."""
        counts: Counter[str] = Counter(self._near.lost)
        for each in (self._far.lost, self._sender.lost, self._reader.counts.lost):
            counts.update(each)
        return {reason: number for reason, number in counts.items() if number}

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was published here is handled; False when the time ran out."""
        deadline = monotonic() + timeout
        for _ in range(_ROUNDS):
            published = self._published()
            if not self._near.flush(max(0.0, deadline - monotonic())):
                return False
            if not (self._is_read(deadline) and self._far.flush(max(0.0, deadline - monotonic()))):
                return False
            if self._published() == published:
                break
        return True

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, then stop for good; False when something was left."""
        deadline = monotonic() + timeout
        done = self.flush(timeout)
        done = self._near.close(max(0.0, deadline - monotonic())) and done
        self._sender.finish(max(0.0, deadline - monotonic()))
        done = self._is_read(deadline) and done
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, deadline - monotonic()))
            done = not self._thread.is_alive() and done
        return self._far.close(max(0.0, deadline - monotonic())) and done

    def _begin_anew(self) -> None:
        """Begin with a group and a thread of its own, also in a forked child."""
        group = f"bus-{new_id().hex()[:12]}"
        self._reader = Reader(self._url, self._stream, group, keys=self._keys, from_now=True)
        self._thread: threading.Thread | None = None
        self._joined, self._stopping = threading.Event(), threading.Event()
        self._moved = threading.Condition()
        self._read_to = b""
        self._is_over = False
        """Whether the thread has ended."""

    def _published(self) -> int:
        return (
            self._shipping.buffer.put_in() if isinstance(self._shipping, MemorySubscription) else 0
        )

    def _ship(self, batch: Sequence[Delivery]) -> None:
        """Have a reader there first, so that it sees what is sent."""
        if self._thread is None:
            thread = new_thread("otel-dbevents-redis-reader", self._run)
            thread.start()  # raises where the process ends: then this batch is counted as lost
            self._thread = thread
        while not self._joined.wait(_WAIT_S):
            if self._stopping.is_set():
                break
        self._sender.consume(batch)

    def _is_read(self, deadline: float) -> bool:
        """Wait until what was sent was read, or nobody reads any more; False at the deadline."""
        target = self._sender.last_id
        with self._moved:
            return self._moved.wait_for(
                lambda: self._is_over or order(self._read_to) >= order(target),
                max(0.0, deadline - monotonic()),
            )

    def _run(self) -> None:
        """Read until all was sent and read, and the bus is closed."""
        try:
            self._read_on()
        finally:
            with self._moved:
                self._is_over = True
                self._moved.notify_all()

    def _read_on(self) -> None:
        backoff, in_hand = Backoff(), list[Held]()
        while True:
            try:
                in_hand = self._turn(in_hand)
                backoff.reset()
                is_sent = self._stopping.is_set() and self._near.flush(0)
                if is_sent and not in_hand and self._is_read(0):
                    self._reader.close(ending=True)
                    return
            except Exception as error:  # noqa: BLE001 - of the package or of the system's
                told("redis reader", error)
                self._reader.reconnect()
                if self._stopping.wait(backoff.next()):
                    return

    def _turn(self, in_hand: list[Held]) -> list[Held]:
        self._reader.join()
        self._joined.set()
        held = self._reader.read(_READ, _WAIT_S)
        for each in held:
            for event in each.events:
                self._far.publish(event)
        in_hand += held
        if held:
            with self._moved:
                self._read_to = held[-1].id
                self._moved.notify_all()
        if in_hand and self._far.flush(0):
            self._reader.commit(in_hand)
            in_hand = []
        if self._reader.open_lines:
            self._reader.settle()
        return in_hand

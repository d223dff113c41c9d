"""The bus: carries events from the sources to their consumers. This page is its contract.

In: `EventBus.publish`, called on the application's own thread. Out: batches to consumers, each on
a worker of its own, and single events to handlers.

Promised by every backend (``tests/bus/contract.py`` checks it):

- ``publish`` never raises, never waits and never calls a consumer or a handler, but for those of
  ``subscribe_inline`` and in synchronous mode.
- ``publish_from_finalizer`` may be called where the garbage collector runs, which is anywhere: also
  within somebody's locked region. It calls nobody, starts no thread and takes no lock. What is to
  be called within ``publish`` is called by the next ordinary ``publish`` or ``flush``, whoever's
  that is; where no worker runs yet, one is started by the next ordinary event of that subscriber,
  or by ``flush``.
- A subscriber sees the events of one publishing thread in their order, each at most once.
- Each subscriber has a bounded buffer of its own. Full: the oldest event is dropped and counted as
  ``queue_full``. A subscriber that raises loses that event or batch, counted as
  ``handler_error``; the error is logged once a minute. Slow or failing, it hurts only itself.
- ``flush`` returns when everything published before it was handled, and what handlers published
  in turn, or when its time is up. What other threads publish meanwhile does not hold it up.
- A consumer that holds something back may have an ``idle``. It is called where the consumer is,
  never at the same time: once when no event has come for a second after a batch, and when the
  subscription has ended; in synchronous mode after each event.
- ``close`` flushes, then stops; what is published after it is counted as ``closed``. Closing
  twice is harmless.
- After a fork the child starts with empty buffers and counts, and workers of its own; the parent
  delivers what it had.
- Handlers and consumers run with instrumentation suppressed, so that what they do with a database
  themselves is not told to them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, overload

from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event

Delivery: TypeAlias = tuple[Event, Any]
"""An event and the OpenTelemetry context of its call; None where it crossed a process."""

Item: TypeAlias = Delivery | Draft
"""What waits in a buffer: an event, or what one will be made of."""

Consumer: TypeAlias = Callable[[Sequence[Delivery]], None]
"""Takes a batch. What it raises is counted and logged, and never reaches the publisher."""

Taker: TypeAlias = Callable[[Sequence[Item]], None]
"""A consumer that takes plain drafts as they are, where nobody else wants their events."""

Idle: TypeAlias = Callable[[], object]
"""Tells a consumer that nothing more comes for now. What it raises is counted and logged."""

E = TypeVar("E", bound=Event)
Handler: TypeAlias = Callable[[E], None] | Callable[[E], Awaitable[None]]
"""Takes one event; a coroutine function is awaited on an event loop."""

InlineHandler: TypeAlias = Callable[[Event, Any], None]
"""Takes an event and the caller's context, on the caller's thread: it must be quick."""

Wanted: TypeAlias = Callable[[Any], bool]
"""Whether an inline handler has anything to do in this context. Quick, on the caller's thread."""


class Subscription(Protocol):
    """What a subscriber holds, to look at its losses and to end it."""

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events this subscriber did not get, by reason."""
        ...

    def cancel(self) -> None:
        """End the subscription. What is in its buffer is handled first. May be called twice."""
        ...


class EventBus(Protocol):
    """What the pipeline needs of a bus."""

    def publish(self, event: Event, context: Any = None) -> None:
        """Hand an event to all subscribers. Never raises, never waits."""
        ...

    def publish_from_finalizer(self, event: Event, context: Any = None) -> None:
        """Hand an event over from a finalizer, as in ``__del__`` or a weak reference's callback.

        Never raises, never waits, takes no lock and calls nobody.
        """
        ...

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
        """Have batches of these types (of all, when none is named) brought to ``consumer``.

        ``capacity`` is the buffer's size in events; 0 takes the bus's own. ``idle`` is called when
        nothing has come for a second. Raises `ValueError` when ``capacity`` is negative,
        `TypeError` for what is no consumer or no event type; so do the other two ways to subscribe.

        ``subscribe(DatabaseConnectionFailed, handler)``, the type first, has single events of that
        type brought to a handler: it is ``handle(handler, DatabaseConnectionFailed)``.
        """
        ...

    def handle(self, handler: Handler[E], *types: type[E], capacity: int = 0) -> Subscription:
        """Have single events of these types (of all, when none is named) brought to ``handler``.

        A coroutine function is awaited on the event loop that runs where ``handle`` is called,
        or, where none runs, on a loop of the bus's own. One event is handled at a time.
        """
        ...

    def subscribe_inline(self, handler: InlineHandler, *types: type[Event]) -> Subscription:
        """Have ``handler`` called within ``publish``, for what must write on a span still open."""
        ...

    @property
    def history(self) -> Sequence[Event]:
        """The last events published, oldest first; empty when history is off."""
        ...

    @property
    def lost(self) -> Mapping[str, int]:
        """How many deliveries failed, by reason, over all subscribers that there were."""
        ...

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all that was published is handled; False when ``timeout`` seconds ran out."""
        ...

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, then stop for good; False when something was left."""
        ...

"""A worker for what is no event: items of one kind, brought in batches to one function.

Beside the bus, and by the same promises: `Errands.put` never raises, waits or takes a lock; the
buffer is bounded, the oldest gives way and is counted; a forked child begins with nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar

from otel_dbevents.bus.losses import Losses
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.forks import in_child

T = TypeVar("T")


class Errands(Generic[T]):
    """Has ``run`` called with what was put in, on a thread that the first item starts.

    Args:
        run: takes a batch. What it raises is counted as ``handler_error`` and logged once a minute.
        name: the worker's, in logs and of its thread.
        capacity: how many items may wait.

    """

    def __init__(self, run: Callable[[Sequence[T]], object], *, name: str, capacity: int) -> None:
        deliver: Any = run
        self._losses = _Losses(name)
        self._subscription = MemorySubscription(
            _nothing, _nothing, name, (), capacity, deliver, self._losses, are_events=False
        )
        self._closed = False
        in_child(self._subscription.restart)

    def put(self, item: T) -> None:
        """Leave an item for the worker. After `close` it is dropped. Never raises, never waits."""
        if self._closed:
            return
        subscription: Any = self._subscription
        subscription.buffer.put(item)
        if subscription.asleep:
            with suppress(Exception):  # no memory for a signal: the next item tries again
                subscription.wake()

    @property
    def waiting(self) -> bool:
        """Whether something that was put in is not done yet."""
        return not self._subscription.reached(self._subscription.buffer.put_in())

    def settle(self, timeout: float) -> bool:
        """Wait until all that was put in before is done; False after ``timeout`` seconds."""
        subscription = self._subscription
        return subscription.settle(subscription.buffer.put_in(), monotonic() + timeout)

    def close(self) -> None:
        """Take nothing more; what was put in before is still done. Waits for nothing."""
        self._closed = True
        self._subscription.stop()

    @property
    def lost(self) -> Mapping[str, int]:
        """How many items gave way (``queue_full``) or failed (``handler_error``)."""
        counts = self._losses.counts()
        dropped = self._subscription.buffer.dropped()
        return counts | {"queue_full": dropped} if dropped else counts


class _Losses(Losses):
    def tell_dropped(self, so_far: int, capacity: int) -> None:
        """Say nothing: whoever puts items in tells what it means that they gave way."""


def _nothing(*_: object) -> None:
    pass

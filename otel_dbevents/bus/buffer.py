"""A bounded buffer between the publishing threads and one worker. Full, it drops the oldest."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat, starmap
from threading import RLock
from typing import Generic, TypeVar

from otel_dbevents.tally import Tally

T = TypeVar("T")


class Buffer(Generic[T]):
    """Filled by any thread without a lock, drained by one.

    Who puts an item in appends it, and then trims if there are more than ``capacity``: single calls
    into C, so they need no lock under the GIL, and may be done in a finalizer. For a moment it
    holds as many more as there are threads in between.
    """

    __slots__ = ("_drained", "_dropped", "_lock", "_lost", "_weigh", "append", "capacity", "items")

    def __init__(self, capacity: int, weigh: Callable[[T], int] = lambda _item: 1) -> None:
        self.capacity = capacity
        self._weigh = weigh
        """How much is lost with an item that is dropped."""
        self._lost = Tally()
        self.items: deque[T] = deque()
        self.append: Callable[[T], None] = self.items.append
        self._dropped = Tally()
        self._drained = 0
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self.items)

    def put(self, item: T) -> None:
        """Put an item in. What must be quick does the same without a call of ours."""
        self.append(item)
        if len(self.items) > self.capacity:
            self.trim()

    def trim(self) -> None:
        """Drop the oldest item, and count it."""
        with suppress(IndexError):  # all was taken out meanwhile
            item = self.items.popleft()
            self._dropped.tick()
            for _ in range(self._weigh(item)):
                self._lost.tick()

    def drain(self, most: int) -> tuple[list[T], int]:
        """Take out up to ``most`` items, the oldest first.

        With them comes how many of those put in since the beginning are now gone from the buffer.
        """
        take = self.items.popleft
        batch: list[T] = []
        with self._lock:
            number = min(most, len(self.items))
            self._drained += number  # before they are gone: see `put_in`
            with suppress(IndexError):  # others drop what is too much meanwhile
                batch.extend(starmap(take, repeat((), number)))
            self._drained -= number - len(batch)
            return batch, self._drained + self._dropped.total()

    def put_in(self) -> int:
        """How many items were put in since the beginning; more while some are being taken out.

        Without the lock: a signal's handler that waits for them may interrupt this.
        """
        there = len(self.items)
        return there + self._drained + self._dropped.total()

    def dropped(self) -> int:
        """How much was lost with the items that were dropped."""
        return self._lost.total()

    def forget(self) -> None:
        """Empty the buffer, in a forked child: what was in it is the parent's to deliver."""
        self._lock, gone = RLock(), self._dropped.total()
        self._drained += gone + len(self.items)
        self._dropped, self._lost = Tally(), Tally()
        self.items.clear()

"""A bounded buffer between the publishing threads and one worker. Full, it drops the oldest."""

from collections import deque
from collections.abc import Callable
from itertools import count
from threading import RLock
from typing import Generic, TypeVar

T = TypeVar("T")


class Tally:
    """A count. ``tick`` adds one by a single call into C, which needs no lock under the GIL."""

    __slots__ = ("_counter", "_lock", "_looks", "tick")

    def __init__(self) -> None:
        self._counter = count()
        self._looks = 0
        self._lock = RLock()
        self.tick: Callable[[], int] = self._counter.__next__

    def total(self) -> int:
        """How many ticks there were."""
        with self._lock:
            number = next(self._counter) - self._looks
            self._looks += 1
        return number

    def renew(self) -> None:
        """Have a lock of its own in a forked child, where another thread may have had it."""
        self._lock = RLock()


class Buffer(Generic[T]):
    """Filled by any thread without a lock, drained by one.

    ``append`` puts an item in, and ``tick`` counts it: both are single calls into C, so they need
    no lock under the GIL. What was dropped is not counted as it happens, but derived:
    what was put in, less what was taken out and what is still there.
    """

    __slots__ = ("_drained", "_items", "_lock", "_put", "append", "put_in", "tick")

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._put = Tally()
        self._drained = 0
        self._lock = RLock()
        self.append: Callable[[T], None] = self._items.append
        self.tick: Callable[[], int] = self._put.tick
        self.put_in: Callable[[], int] = self._put.total
        """How many items were put in since the beginning."""

    def __len__(self) -> int:
        return len(self._items)

    def drain(self, most: int) -> tuple[list[T], int]:
        """Take out up to ``most`` items, the oldest first.

        With them comes how many of those put in since the beginning are now gone from the buffer.
        """
        take = self._items.popleft
        with self._lock:
            # Appending to a full deque takes one and puts one: it never gets shorter meanwhile.
            batch = [take() for _ in range(min(most, len(self._items)))]
            self._drained += len(batch)
            return batch, self.put_in() - len(self._items)

    def dropped(self) -> int:
        """How many items were dropped; exact while no thread is within ``append`` and ``tick``.

        At other times it may be less, and is never more.
        """
        with self._lock:
            return max(0, self.put_in() - self._drained - len(self._items))

    def forget(self) -> None:
        """Empty the buffer, in a forked child: what was in it is the parent's to deliver."""
        self._lock = RLock()
        self._put.renew()
        self._items.clear()
        self._drained = self.put_in()

"""A bounded buffer between the publishing threads and one worker. Full, it drops the oldest."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """Filled by any thread without a lock, drained by one.

    ``append`` puts an item in, and ``tick`` counts it: both are single calls into C, so they need
    no lock under the GIL. What was dropped is not counted as it happens, but derived:
    what was put in, less what was taken out and what is still there.
    """

    __slots__ = ("_counter", "_drained", "_items", "_lock", "_peeks", "append", "tick")

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._counter = count()
        self._peeks = 0
        self._drained = 0
        self._lock = Lock()
        self.append: Callable[[T], None] = self._items.append
        self.tick: Callable[[], int] = self._counter.__next__

    def __len__(self) -> int:
        return len(self._items)

    def drain(self, most: int) -> list[T]:
        """Take out up to ``most`` items, the oldest first."""
        take = self._items.popleft
        batch: list[T] = []
        with suppress(IndexError):
            batch.extend(take() for _ in range(most))
        with self._lock:
            self._drained += len(batch)
        return batch

    def dropped(self) -> int:
        """How many items were dropped; exact while no thread is within ``append`` and ``tick``."""
        with self._lock:
            put_in = next(self._counter) - self._peeks
            self._peeks += 1
            return max(0, put_in - self._drained - len(self._items))

    def forget(self) -> None:
        """Empty the buffer, in a forked child: what was in it is the parent's to deliver."""
        self._lock = Lock()
        self._items.clear()
        put_in = next(self._counter) - self._peeks
        self._peeks += 1
        self._drained = put_in

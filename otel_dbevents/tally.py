"""A count that any thread adds to and any looks at, without a lock, whatever it interrupts."""

from collections.abc import Callable
from itertools import count


class Tally:
    """A count. ``tick`` adds one by a single call into C, which needs no lock under the GIL."""

    __slots__ = ("_counter", "tick")

    def __init__(self) -> None:
        self._counter = count()
        self.tick: Callable[[], int] = self._counter.__next__

    def total(self) -> int:
        """How many ticks there were."""
        return shown(self._counter)


def shown(counter: "count[int]") -> int:
    """Return the next number of a counter that counts by one, which stays the next.

    What it shows is all that a counter tells without counting on. One call into C too: a signal's
    handler that looks, while its thread is only just looking, sees the same.
    """
    return int(repr(counter).removeprefix("count(")[:-1])

"""What is known for a time: objects as long as somebody else keeps them alive, and so many at most.

Other threads add and take away meanwhile. A `weakref.WeakSet` that is walked then raises, with a
GIL and without, and so does a dict that is asked for its first key.
"""

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Living(Generic[T]):
    """Objects that are not kept alive by being in here. Read by any thread, without a lock.

    They have no equality of their own.
    """

    def __init__(self) -> None:
        self.references: dict[weakref.ref[T], None] = {}
        """What `add` adds to; what must be quick, and discards nothing, does that by `forget`."""
        self.forget = pop = self.references.pop
        # Who walks them may hold a reference that was discarded when its object dies.
        self._forget: Callable[[weakref.ref[T]], object] = lambda reference: pop(reference, None)

    def __contains__(self, thing: object) -> bool:
        """Whether it is in here."""
        return weakref.ref(thing) in self.references

    def add(self, thing: T) -> None:
        """Take it in; twice is once."""
        self.references[weakref.ref(thing, self._forget)] = None

    def discard(self, thing: T) -> None:
        """Take it out, if it is in here."""
        self.references.pop(weakref.ref(thing), None)

    def all(self) -> list[T]:
        """Return those that are still there, in the order in which they came."""
        found = (reference() for reference in list(self.references))
        return [thing for thing in found if thing is not None]


def make_room(known: dict[Any, Any], most: int) -> int:
    """Forget the oldest entries of a dict until there are less than ``most``; return how many."""
    number = 0
    while len(known) >= most:
        with suppress(RuntimeError, StopIteration):  # another thread is at it too
            number += known.pop(next(iter(known)), None) is not None
    return number

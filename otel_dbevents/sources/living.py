"""Objects that are known as long as somebody else keeps them alive."""

import weakref
from typing import Any


class Living:
    """Objects that are not kept alive by being in here. Read by any thread, without a lock."""

    def __init__(self) -> None:
        self.references: dict[weakref.ref[Any], None] = {}
        """What `add` adds to; what must be quick does that without a call."""
        self.forget = self.references.pop

    def add(self, thing: Any) -> None:
        """Take it in, which has no equality of its own; twice is once."""
        self.references[weakref.ref(thing, self.forget)] = None

    def all(self) -> list[Any]:
        """Return those that are still there, in the order in which they came."""
        found = (reference() for reference in list(self.references))
        return [thing for thing in found if thing is not None]

"""Drafts: events that are still to be made of what was noted of them.

The application's thread notes values that it has at hand, and goes on. Whoever first needs the
event makes it: a worker of the bus, mostly. Everybody else finds that one made.
"""

from typing import Any, ClassVar

from msgspec import Struct

from otel_dbevents.events import Event


class _Makeable(Struct, gc=False, eq=False, kw_only=True):
    made: Event | None = None


class Draft(_Makeable, gc=False, eq=False):
    """What was noted of one event. Its fields are values that nobody changes any more."""

    kind: ClassVar[type[Event]]
    """What it is a draft of: who has subscribed to that gets it."""

    context: Any
    """The OpenTelemetry context of the call that it tells of."""

    def event(self) -> Event | None:
        """Return the event, always the same one; None where it cannot be made.

        Two threads must not ask at a time that nobody has asked before.
        """
        if self.made is None:
            self.made = self.make()
        return self.made

    def make(self) -> Event | None:
        """Make the event. Never raises."""
        raise NotImplementedError  # pragma: no cover - abstract

"""What a reader holds, and what it has counted."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.events import Event


class Held(msgspec.Struct, frozen=True, gc=False):
    """An entry in this reader's hands, with its events."""

    id: bytes
    entry: Entry
    events: list[Event]
    fields: Mapping[bytes, bytes] = {}
    """The entry as it is stored."""
    unread: tuple[int, ...] = ()
    """The places in its body of events that cannot be read."""

    def place(self, number: int) -> int:
        """Return where in the body its event of this number is."""
        if self.entry.chosen:
            places = sorted(set(self.entry.chosen) - set(self.unread))
            return places[number]
        for each in self.unread:
            number += each <= number
        return number


class Counts(msgspec.Struct):
    """What a reader has done so far."""

    read: int = 0
    """Events read, without those that had come before."""
    handled: int = 0
    """Events that were handled, and taken out of the group's hands."""
    duplicates: int = 0
    """Events that came again, and were not handed on."""
    lost: Counter[str] = msgspec.field(default_factory=Counter)
    """Events that will not come: ``gap`` (Redis forgot them, or never had them), ``trimmed`` (the
    stream was too long), ``rejected`` (in the dead letters)."""
    again: int = 0
    """Events that had been lost, and came from the dead letters and were handled."""
    dead_letters: Counter[str] = msgspec.field(default_factory=Counter)
    """Entries in the dead letters, by reason."""

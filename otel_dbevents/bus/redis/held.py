"""What a reader holds, and what it has counted."""

from collections import Counter
from collections.abc import Iterator, Mapping

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


class Hands:
    """The entries that a reader holds, by their ids in the stream."""

    def __init__(self) -> None:
        self._held: dict[bytes, Held] = {}
        self._names: set[tuple[str, int, int]] = set()

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self._held

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._held)

    def have(self, entry: Entry) -> bool:
        """Whether the same events are held, be it under another id: they may be sent twice."""
        return _name(entry) in self._names

    def take(self, held: Held) -> None:
        """Hold an entry."""
        self._held[held.id] = held
        self._names.add(_name(held.entry))

    def let_go(self, id_: bytes) -> None:
        """Hold it no longer, if it was held."""
        held = self._held.pop(id_, None)
        if held is not None:
            self._names.discard(_name(held.entry))

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()
        self._names.clear()


def _name(entry: Entry) -> tuple[str, int, int]:
    """Return what two messages with the same events have in common."""
    return entry.line, entry.first, entry.count


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

"""Burials: what a reader of a group cannot read or handle, put to the dead letters and counted."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from msgspec.structs import replace

from otel_dbevents.bus.redis.dead import MENDS, MOST, letter_fields, name_of
from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.held import Counts, Held

_log = logging.getLogger("otel_dbevents.bus")
_SAY_AGAIN_S: Final = 60.0
_MOST_REFUSED: Final = 10_000


class Burials:
    """The dead letters that one reader makes.

    Args:
        stream: the stream's name.
        buries: what cannot be read is put to the dead letters. False: that is another group's part.
        counts: what the reader has counted; entries that went there are, and lost events.

    """

    def __init__(self, stream: str, counts: Counts, *, buries: bool) -> None:
        self._stream, self._counts, self._buries = stream, counts, buries
        self._silent: dict[str, float] = {}
        self._refused: dict[str, tuple[Entry, int]] = {}
        """By line: how many of its events are there, and an entry of it."""

    def letter(
        self,
        id_: bytes,
        fields: Mapping[bytes, bytes],
        reason: str,
        places: Sequence[int] = (),
    ) -> Mapping[bytes, bytes] | None:
        """Return what is stored of an entry that cannot be read, or of events at these places.

        None: another group does it.
        """
        return letter_fields(id_, fields, reason, chosen=places) if self._buries else None

    def unread(self, held: Held) -> list[Mapping[bytes, bytes]]:
        """Return the letter of those events that cannot be read, where there are any."""
        if not held.unread:
            return []
        letter = self.letter(held.id, held.fields, "undecodable", held.unread)
        return [] if letter is None else [letter]

    def lose(self, entry: Entry, number: int) -> None:
        """Count events of an entry that are in the dead letters."""
        if not number:
            return
        self._counts.lost["rejected"] += number
        if entry.line in self._refused or len(self._refused) < _MOST_REFUSED:
            _, before = self._refused.get(entry.line, (entry, 0))
            self._refused[entry.line] = replace(entry, body=b""), before + number

    def take_refused(self) -> Sequence[tuple[Entry, int]]:
        """Return, once, of which processes so many were counted, each as an entry of theirs."""
        found, self._refused = list(self._refused.values()), {}
        return found

    def add(self, pipe: Any, letters: Iterable[Mapping[bytes, bytes]]) -> None:
        """Have a pipeline put letters to the others."""
        for letter in letters:
            pipe.xadd(name_of(self._stream), letter, maxlen=MOST, approximate=True)

    def count(self, reason: str) -> None:
        """Count a dead letter, and say once a minute what mends such ones."""
        if not self._buries and reason in MENDS:
            return  # it is another group's, which says so
        self._counts.dead_letters[reason] += 1
        now = monotonic()
        if now >= self._silent.get(reason, 0.0):
            self._silent[reason] = now + _SAY_AGAIN_S
            _log.warning(
                "an entry of %s went to the dead letters, %s: %s (said once a minute at most; "
                "`otel-dbevents dlq list` shows all)",
                self._stream,
                reason,
                MENDS.get(reason, "a handler failed, mend it and retry"),
            )

"""Exits: how entries leave the group's hands: handled, or refused and put to the dead letters.

Each in one transaction with what is noted of it. Where the answer to that never comes, nobody knows
whether it was carried out; what is tried again then leaves no second letter, and what was
carried out is counted.
"""

from collections.abc import Mapping, Sequence

from otel_dbevents.bus.redis.burials import Burials
from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.gaps import Gaps
from otel_dbevents.bus.redis.group import Group, Message
from otel_dbevents.bus.redis.held import Hands
from otel_dbevents.bus.redis.ledger import Ledger


class Exits:
    """The ways out of one reader's hands. Its methods raise what the package ``redis`` raises."""

    def __init__(
        self, group: Group, ledger: Ledger, gaps: Gaps, burials: Burials, hands: Hands
    ) -> None:
        self._group, self._ledger, self._gaps = group, ledger, gaps
        self._burials, self._hands = burials, hands
        self._unsure = set[bytes]()
        """What we tried to take out of the group's hands, and do not know whether we did."""
        self._doubt: tuple[bytes, Mapping[bytes, bytes], str, Entry | None] | None = None
        """What we tried to put to the dead letters last, where that is not known either."""

    def finish(
        self,
        ids: Sequence[bytes],
        handled: Sequence[Entry],
        letters: Sequence[Mapping[bytes, bytes]] = (),
    ) -> None:
        """Take entries out of the group's hands, with letters left in their place: all or none."""
        if letters and not self._unsure.isdisjoint(ids) and not self._group.has(ids):
            letters = ()  # they are there: the answer to the last try did not come
        self._unsure.update(ids)
        pipe = self._group.client.pipeline()
        self._burials.add(pipe, letters)
        self._ledger.add(pipe, handled)
        pipe.xack(self._group.stream, self._group.name, *ids)
        pipe.execute()
        self._unsure.difference_update(ids)
        self._ledger.note(handled)
        for each in ids:
            self._hands.let_go(each)

    def reject(
        self,
        id_: bytes,
        fields: Mapping[bytes, bytes],
        reason: str,
        entry: Entry | None = None,
        places: Sequence[int] = (),
    ) -> None:
        """Put an entry to the dead letters, and take it out of the group's hands: both or none.

        One whose numbers can be trusted is written down as handled, its events as lost.
        """
        letter = self._burials.letter(id_, fields, reason, places)
        handled = [] if entry is None else [entry]
        self._doubt = id_, fields, reason, entry
        self.finish([id_], handled, [] if letter is None else [letter])
        self._rejected(*self._doubt)

    def seen(self, messages: Sequence[Message]) -> None:
        """Count what was put to the dead letters without an answer, where it did not come again."""
        if self._doubt is not None and all(each[0] != self._doubt[0] for each in messages):
            self._rejected(*self._doubt)

    def _rejected(
        self, id_: bytes, fields: Mapping[bytes, bytes], reason: str, entry: Entry | None
    ) -> None:
        """Count an entry that went to the dead letters."""
        self._doubt = None
        self._burials.count(reason)
        if entry is None:
            self._gaps.rejected(fields)
            return
        self._gaps.handled(id_, entry)
        if not entry.again_of:
            self._burials.lose(entry, entry.count)

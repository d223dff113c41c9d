"""Gaps: what of a producer's numbers never came, and why, as far as this reader sees.

In: entries as they are read, and as they are handled. Out: losses, each once for all readers of the
group (`Ledger`). A gap is no loss while anything that was read before its end is in anybody's
hands.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.group import Group, order
from otel_dbevents.bus.redis.ledger import Ledger

_log = logging.getLogger("otel_dbevents.bus")
_MOST_REASONS: Final = 10_000


class Gaps:
    """What one reader knows of gaps. Its methods raise what the package ``redis`` raises.

    Args:
        group: whose member reads.
        ledger: of the stream and the group.
        from_now: what was before is no loss.
        judges_past: what producers wrote before there was this group may be a loss.

    """

    def __init__(self, group: Group, ledger: Ledger, *, from_now: bool, judges_past: bool) -> None:
        self._group, self._ledger = group, ledger
        self._from_now, self._judges_past = from_now, judges_past
        self._marks: dict[str, tuple[bytes, int]] = {}
        """By line: the id of the last entry that was handled, and where it ends."""
        self._untold: dict[str, Counter[str]] = {}
        """By line: losses that were found, and not returned yet."""
        self._reached: dict[str, int] = {}
        """By line: up to where we have read."""
        self._reasons: dict[tuple[str, int], str] = {}
        """By line and the number after a gap: why it may be there, where that is known."""

    @property
    def open_lines(self) -> frozenset[str]:
        """The lines of which something was handled that is not settled yet."""
        return frozenset(self._marks)

    def look(self, those: Sequence[tuple[bytes, Entry]]) -> None:
        """Note where a producer's numbers jump because the stream was cut before we read it."""
        start: bytes | None = None
        if len(self._reached) > _MOST_REASONS:
            self._reached.clear()
        for id_, entry in those:
            reached = self._reached.get(entry.line)
            if reached is None and (self._from_now or self._was_before(entry)):
                self._ledger.begin(entry.line, entry.first)
                reached = entry.first
            if entry.first > (reached or 0):
                start = self._group.first() if start is None else start
                if order(start) >= order(id_):
                    self._explain(entry.line, entry.first, self._why_cut())
            self._reached[entry.line] = max(reached or 0, entry.first + entry.count)

    def handled(self, id_: bytes, entry: Entry) -> None:
        """Note how far a producer has come; an older entry that comes late changes nothing."""
        before = self._marks.get(entry.line)
        if before is None or order(id_) > order(before[0]):
            self._marks[entry.line] = id_, entry.first + entry.count

    def rejected(self, fields: Mapping[bytes, bytes]) -> None:
        """Keep in mind what a refused entry says it is, though it may lie: a gap there is its."""
        try:
            line = f"{fields[b'p'].decode()}:{fields[b'e'].decode()}"
            self._explain(line, int(fields[b"s"]) + int(fields[b"n"]), "rejected")
        except (KeyError, ValueError):
            return

    def settle(self, client: Any) -> Mapping[str, Counter[str]]:
        """Return what never came, by line and reason; each loss is returned once."""
        if not self._marks or not self._ledger.is_remembered(client):
            return {}
        losses = self._untold  # with what was found before Redis went away in the middle of it
        oldest = self._group.oldest_in_hand()
        for line, (id_, until) in list(self._marks.items()):
            if oldest and order(oldest) <= order(id_):
                continue
            for first, number in self._ledger.settle(client, line, until) or ():
                reason = self._reasons.pop((line, first + number), "gap")
                losses.setdefault(line, Counter())[reason] += number
                _log.warning("%d events of a producer never came (%s)", number, reason)
            if self._ledger.is_settled(line, until):
                del self._marks[line]
        self._untold = {}
        return losses

    def _why_cut(self) -> str:
        """Why what was before the stream's first entry is not there."""
        self._ledger.is_remembered(self._group.client)
        return "gap" if self._ledger.has_forgotten else "trimmed"

    def _was_before(self, entry: Entry) -> bool:
        """Whether its producer began before there was this group, which does not judge the past."""
        began, _, _ = entry.epoch.partition("-")
        try:
            return not self._judges_past and int(began, 16) < self._group.made_ns
        except ValueError:
            return False

    def _explain(self, line: str, end: int, reason: str) -> None:
        """Keep in mind why there may be a gap that ends at this number."""
        if len(self._reasons) >= _MOST_REASONS:
            self._reasons.clear()
        self._reasons[line, end] = reason

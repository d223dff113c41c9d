"""The ledger: which events of each producer were handled, in Redis itself, for all readers.

A sorted set for each producer's epoch has an interval for each entry that was handled
(``FIRST:COUNT``, by its first number) and a ``base``: all below it is settled, handled or lost. So
an entry that comes again is known, whoever handled it, and what never came is counted once,
whoever sees it. What is missing between two handled entries is lost when nothing that was read
before the later of them is still in anybody's hands: a producer writes in order.

Redis may forget all of it. So each reader keeps what it has seen settled and what it added since,
and writes it again when the ledger's ``life`` is another; and nothing is settled for a while then,
as the others do the same, and hold entries that Redis does not know of any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from time import monotonic
from typing import Any, Final, TypeAlias

from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.events import new_id

KEPT_S: Final = 7 * 86_400
"""For how long a producer that writes nothing is remembered."""
_MOST_LINES: Final = 10_000
_MOST_NOTED: Final = 50_000
_FORGOTTEN_S: Final = 60.0
_BASE: Final = "base"
_BY: Final = "by:"
_LIFE: Final = "life"

Interval: TypeAlias = tuple[int, int]
"""A first number and a count."""


class Ledger:
    """What is known of the producers of one stream, for one group."""

    def __init__(self, stream: str, group: str, *, patience_s: float) -> None:
        self._prefix = f"{stream}:ledger:{group}:"
        self._patience_s = patience_s
        self._life = frozenset[bytes]()
        """What names the ledger that Redis had when it was last looked at."""
        self._forgotten_at = float("-inf")
        self._mark = _BY + new_id().hex()
        self._unsure: dict[str, tuple[int, list[Interval]]] = {}
        """By line: what we tried to settle, and do not know whether we did."""
        self._settled: dict[str, int] = {}
        """By line: up to where this process has seen all settled, should Redis forget it."""
        self._noted: dict[str, dict[str, int]] = {}
        """By line: what this process handled and nobody has settled, should Redis forget it."""
        self._noted_count = 0

    def is_remembered(self, client: Any) -> bool:
        """Whether Redis knows what it was told; else it is told again, and all wait for a while."""
        life = self._read_life(client)
        if not life:
            client.zadd(self._key(_LIFE), {new_id().hex(): 0})
            life = self._read_life(client)  # another may have begun one too
        if self._life and life != self._life:
            self._forgotten_at = monotonic()
            self._tell_again(client)
        self._life = life
        return monotonic() - self._forgotten_at >= self._patience_s

    @property
    def has_forgotten(self) -> bool:
        """Whether Redis was found to have forgotten everything within the last minute."""
        return monotonic() - self._forgotten_at < _FORGOTTEN_S

    def known(self, client: Any, entries: Sequence[Entry]) -> list[bool]:
        """Say of each entry whether it was handled before, or counted as lost."""
        if not entries:
            return []
        pipe = client.pipeline(transaction=False)
        for each in entries:
            pipe.zmscore(self._key(each.line), [_BASE, _member(each)])
        found = []
        for each, (base, score) in zip(entries, pipe.execute(), strict=True):
            least = self._base(each.line, base)
            is_noted = score is not None or _member(each) in self._noted.get(each.line, ())
            found.append(is_noted or (each.count > 0 and each.first < least))
        return found

    def add(self, pipe: Any, entries: Iterable[Entry]) -> None:
        """Have a transaction write down that these were handled."""
        members: dict[str, dict[str, int]] = {}
        for each in entries:
            members.setdefault(each.line, {})[_member(each)] = each.first
        for line, found in members.items():
            pipe.zadd(self._key(line), found)
            pipe.expire(self._key(line), KEPT_S)

    def note(self, entries: Iterable[Entry]) -> None:
        """Keep in mind that these are written down, until they are settled."""
        if self._noted_count > _MOST_NOTED:
            self._noted.clear()
            self._noted_count = 0
        for each in entries:
            noted = self._noted.setdefault(each.line, {})
            self._noted_count += _member(each) not in noted
            noted[_member(each)] = each.first

    def settle(self, client: Any, line: str, until: int) -> list[Interval] | None:
        """Settle all below ``until``, and return what of it never came.

        None where that is not known yet: somebody else writes there at this moment.
        """
        key = self._key(line)
        pipe = client.pipeline()
        try:
            pipe.watch(key)
            found = {
                _text(name): int(score) for name, score in pipe.zrange(key, 0, -1, withscores=True)
            }
            if (told := self._told(line, found)) is not None:
                return told
            base = self._base(line, found.pop(_BASE, None))
            noted = self._noted.get(line, {})
            found |= {name: first for name, first in noted.items() if first >= base}
            if until <= base and not found:
                self._saw_settled(line, base)
                return []
            missing = _missing(found, base, until)
            pipe.multi()
            pipe.zremrangebyscore(key, "-inf", f"({until}")
            pipe.zadd(key, {_BASE: max(until, base), self._mark: max(until, base)})
            pipe.expire(key, KEPT_S)
            self._unsure[line] = max(until, base), missing
            pipe.execute()
            del self._unsure[line]
        except import_module("redis").WatchError:  # or the connection went away meanwhile
            return None
        finally:
            pipe.reset()
        self._saw_settled(line, max(until, base))
        return missing

    def is_settled(self, line: str, until: int) -> bool:
        """Whether this process has seen all below ``until`` settled."""
        return self._settled.get(line, 0) >= until

    def _saw_settled(self, line: str, until: int) -> None:
        if len(self._settled) > _MOST_LINES:
            self._settled.clear()
        self._settled[line] = until
        noted = self._noted.pop(line, {})
        left = {member: first for member, first in noted.items() if first >= until}
        self._noted_count -= len(noted) - len(left)
        if left:
            self._noted[line] = left

    def _told(self, line: str, found: dict[str, int]) -> list[Interval] | None:
        """Return what was settled by a transaction whose answer never came, if it was carried out.

        It bears our mark; what another settles later takes that away.
        """
        marks = {name: found.pop(name) for name in list(found) if name.startswith(_BY)}
        until, missing = self._unsure.pop(line, (-1, []))
        if not missing or marks.get(self._mark) != until:
            return None
        self._saw_settled(line, until)
        return missing

    def _read_life(self, client: Any) -> frozenset[bytes]:
        pipe = client.pipeline(transaction=False)
        pipe.zrange(self._key(_LIFE), 0, -1)
        pipe.expire(self._key(_LIFE), KEPT_S)
        return frozenset(pipe.execute()[0])

    def _tell_again(self, client: Any) -> None:
        """Write what this process knows; never less than what another has written already."""
        pipe = client.pipeline(transaction=False)
        for line in {*self._settled, *self._noted}:
            key = self._key(line)
            pipe.zadd(key, {_BASE: self._settled.get(line, 0)}, gt=True)
            if noted := self._noted.get(line):
                pipe.zadd(key, noted)
            pipe.expire(key, KEPT_S)
        pipe.execute()

    def begin(self, line: str, first: int) -> None:
        """Take all below ``first`` for settled: what was before this group."""
        self._settled.setdefault(line, first)

    def drop(self, client: Any) -> None:
        """Have Redis forget what this process settled, where the group ends with it."""
        if self._settled:
            client.delete(*map(self._key, (_LIFE, *self._settled)))

    def _base(self, line: str, said: float | None) -> int:
        return max(int(said or 0), self._settled.get(line, 0))

    def _key(self, line: str) -> str:
        return self._prefix + line


def _missing(found: Mapping[str, int], base: int, until: int) -> list[Interval]:
    """Return the gaps between the intervals from ``base`` to ``until``."""
    gaps: list[Interval] = []
    for name, first in sorted(found.items(), key=lambda item: item[1]):
        if first >= until:
            break
        if first > base:
            gaps.append((base, first - base))
        base = max(base, first + int(name.partition(":")[2]))
    if base < until:
        gaps.append((base, until - base))
    return gaps


def _member(entry: Entry) -> str:
    return f"{entry.first}:{entry.count}"


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name

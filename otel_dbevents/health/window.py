"""The window: how the queries of the last minutes fared, database by database.

Numbers come many at a time, on the pipeline's worker, and are only put away there; they are sorted
when somebody asks. Time is cut into slots, which come and go as a whole. A slot counts all its
queries; of their durations it keeps all while they are few, and a fair share when they are many.
"""

import random
import threading
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import accumulate, compress, repeat
from time import monotonic
from typing import Any, Final, NamedTuple

from otel_dbevents.drafts import Alike, Draft, Mixed
from otel_dbevents.events import Database, Event, QueryExecuted, QueryFailed
from otel_dbevents.forks import in_child

SLOTS: Final = 30
"""So many slots are in a window."""
PER_SLOT: Final = 2_048
"""So many durations a slot keeps at the most,"""
PER_WINDOW: Final = 8_192
"""and all slots of a database together."""
LEAST: Final = 20
"""Of fewer queries no share and no percentile is told: one would make it."""
_MOST_DATABASES: Final = 100
_COINS: Final = bytes.maketrans(b"01", b"\0\1")


class Reading(NamedTuple):
    """What a window says now. Durations in seconds; None where there were too few queries."""

    window_s: float
    queries: int
    errors: int
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of queries that failed, 0 to 1; None where there were too few queries."""
        return self.errors / self.queries if self.queries >= LEAST else None


class _Slot:
    """A part of the window."""

    __slots__ = ("errors", "kept", "number", "queries", "stride")

    def __init__(self, number: int) -> None:
        self.number = number
        self.queries = self.errors = 0
        self.stride = 1
        """One of so many durations is kept."""
        self.kept: list[int] = []

    def take(self, durations: Sequence[int]) -> None:
        self.queries += len(durations)
        if self.stride > 1:
            durations = durations[random.randrange(self.stride) :: self.stride]  # noqa: S311
        self.kept.extend(durations)
        while len(self.kept) > PER_SLOT:
            self.thin()

    def thin(self) -> None:
        """Toss a coin for each that is kept.

        Not every second one: what repeats in a rhythm would be kept, or not, as a whole.
        """
        number = len(self.kept)
        coins = f"{random.getrandbits(number):0{number}b}".encode().translate(_COINS)
        self.kept = list(compress(self.kept, coins))
        self.stride *= 2


class _Window:
    """The slots of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.slots: deque[_Slot] = deque(maxlen=SLOTS)
        self.held = 0
        """How many durations are kept, at the most."""

    def open(self, number: int) -> _Slot:
        """Begin another slot."""
        made = _Slot(number)
        self.slots.append(made)
        return made

    def bound(self) -> None:
        """Thin the fullest slots, where all together keep too many durations."""
        while (held := sum(len(slot.kept) for slot in self.slots)) > PER_WINDOW:
            max(self.slots, key=lambda slot: len(slot.kept)).thin()
        self.held = held


class Windows:
    """The windows of all databases, of the last ``window_s`` seconds each.

    At most 100 databases are known, and 8,192 durations of each: those that were used last.
    """

    def __init__(self, window_s: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._window_s, self._slot_s, self._clock = window_s, window_s / SLOTS, clock
        self._begin_anew()
        in_child(self._begin_anew)

    def take(self, database: Database, durations: Sequence[int], errors: int = 0) -> None:
        """Take queries that ended just now: their durations in ns, and how many failed."""
        number = int(self._clock() / self._slot_s)
        with self._lock:
            known = self._known.get(id(database))
            # Looked up by which object it is: to make its name each time would cost more.
            window = known[1] if known is not None else self._know(database)
            slots = window.slots
            slot = slots[-1] if slots and slots[-1].number == number else window.open(number)
            slot.errors += errors
            before = len(slot.kept)
            slot.take(durations)
            window.held += len(slot.kept) - before
            if window.held > PER_WINDOW:
                window.bound()

    def take_events(self, batch: Sequence[tuple[Event, Any] | Draft]) -> None:
        """Take the queries of a batch, where nobody has put their numbers together.

        Drafts in it are plain, and it is `Alike` or `Mixed` then.
        """
        if isinstance(batch, Alike):
            self._take_noted(batch.parts)
            return
        deliveries: Sequence[Any] = batch
        if isinstance(batch, Mixed):
            deliveries = [each for part in batch.parts for each in part.deliveries]
            self._take_noted([each for part in batch.parts for each in part.alike])
        of: dict[int, tuple[Database, list[int]]] = {}
        for event, _ in deliveries:
            kind = type(event)
            if kind is QueryExecuted or kind is QueryFailed:
                found = of.get(id(event.database))
                if found is None:
                    found = of[id(event.database)] = (event.database, [])
                found[1].append(event.duration_ns)
                if kind is QueryFailed:
                    self.take(event.database, (), 1)
        for database, durations in of.values():
            self.take(database, durations)

    def _take_noted(self, noted: Sequence[Alike]) -> None:
        """Take queries that are no events yet: mostly all of one database."""
        of: dict[int, tuple[Database, list[int]]] = {}
        for these in noted:
            if QueryExecuted not in these.kind.kinds:
                continue
            databases, durations = these.columns["database"], these.columns["duration_ns"]
            first = databases[0]
            is_one = databases.count(first) == len(databases)
            for database in (first,) if is_one else {id(each): each for each in databases}.values():
                if id(database) not in of:
                    of[id(database)] = (database, [])
                is_its = [each is database for each in databases] if not is_one else repeat(True)
                of[id(database)][1].extend(compress(durations, is_its))
        for database, all_durations in of.values():
            self.take(database, all_durations)

    def read(self, aggregate_id: str) -> Reading | None:
        """Return what is known of a database; None where it had no query in the window."""
        oldest = int(self._clock() / self._slot_s) - SLOTS
        with self._lock:
            window = self._windows.get(aggregate_id)
            if window is None:
                return None
            slots = [slot for slot in window.slots if slot.number > oldest]
            queries = sum(slot.queries for slot in slots)
            errors = sum(slot.errors for slot in slots)
            weighted = [(value / 1e9, slot.stride) for slot in slots for value in slot.kept]
        if not queries:
            return None
        if queries < LEAST:
            return Reading(self._window_s, queries, errors)
        weighted.sort()
        return Reading(self._window_s, queries, errors, *_percentiles(weighted, 0.5, 0.95, 0.99))

    def standings(self) -> list[tuple[Database, float | None]]:
        """Return of each database with a query in the window the P95 in seconds, if it has one."""
        with self._lock:
            databases = [window.database for window in self._windows.values()]
        found = [(each, self.read(each.aggregate_id)) for each in databases]
        return [(each, reading.p95_s) for each, reading in found if reading is not None]

    def _know(self, database: Database) -> _Window:
        name = database.aggregate_id
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = _Window(database)
        self._windows.move_to_end(name)
        if len(self._windows) > _MOST_DATABASES:
            self._windows.popitem(last=False)
            self._known.clear()
        if len(self._known) >= 4 * _MOST_DATABASES:
            self._known.clear()
        self._known[id(database)] = (database, window)
        return window

    def _begin_anew(self) -> None:
        """Begin empty, also in a forked child: what was measured before is the parent's."""
        self._lock = threading.RLock()
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._known: dict[int, tuple[Database, _Window]] = {}
        """By identity; the database is kept, so that no other can be taken for it."""


def _percentiles(weighted: Sequence[tuple[float, int]], *shares: float) -> list[float]:
    """Return the smallest values that so many of all are not above (nearest rank)."""
    ranks = list(accumulate(weight for _, weight in weighted))
    last = len(ranks) - 1
    return [
        weighted[min(last, bisect_left(ranks, share * ranks[-1] - 1e-9))][0] for share in shares
    ]

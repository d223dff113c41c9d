"""Sender: batches of a bus in memory become entries of the stream.

In: `Sender.consume`, on the bus's worker. It returns when Redis has the events: meanwhile the next
wait in the bus's own buffer, where the oldest give way and are counted. Out: XADD.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, time_ns
from typing import Any, Final

from otel_dbevents.bus import Item
from otel_dbevents.bus.redis.adding import Stream
from otel_dbevents.bus.redis.connecting import Backoff, connect, explained, let_go
from otel_dbevents.bus.redis.entries import Entry, pack_all, without_contexts
from otel_dbevents.bus.redis.packing import encode_columns
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.bus.unmade import events_of
from otel_dbevents.drafts import Alike, Mixed
from otel_dbevents.events import Event, new_id
from otel_dbevents.forks import in_child
from otel_dbevents.swallowing import Swallowing, told

MOST_ENTRIES: Final = 10_000
_SAY_AGAIN_S: Final = 60.0
_LOOK_S: Final = 0.25
_LEAST_BYTES: Final = 250.0
_log = logging.getLogger("otel_dbevents.bus")
_abandoned: Final[list[object]] = []
"""Clients of a parent process: to close one in the child is the parent's business."""


class Sender:
    """Ships events to one stream.

    Args:
        url: of the Redis.
        stream: the stream's name; beyond ``most_entries`` its oldest entries give way.
        source: says what the producer is; asked on the worker, and told in each entry.
        keys: sign each entry.
        most_entries: how long the stream may get; Redis may keep a hundred more.

    While Redis does not take an entry it is tried again, in order, for as long as it takes; once
    a minute a log line says why. `finish` ends that. In a forked child the numbers begin anew,
    under an epoch of its own.

    """

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        source: Callable[[], bytes] = bytes,
        keys: Keyring | None = None,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._url, self._stream, self._keys = url, stream, keys
        self._source = source
        self.on_wait: Callable[[], None] | None = None
        """Called while Redis takes nothing, four times a second, to see to what waits meanwhile."""
        self._to = Stream(stream, most_entries)
        self.producer = new_id().hex()
        self._said = b""
        self._client: Any = None
        self._ended = False
        self._swallowing = Swallowing("redis: encoding", _log)
        self._begin_anew()
        in_child(self._begin_anew)

    @property
    def lost(self) -> Mapping[str, int]:
        """How many events did not go into the stream, by reason.

        ``rejected``: it cannot be encoded; ``shutdown``: Redis had not taken it when time was up.
        """
        with self._lock:
            return dict(self._lost)

    @property
    def shipped(self) -> int:
        """How many events Redis has taken."""
        return self._shipped

    @property
    def last_id(self) -> bytes:
        """The stream's id of the last entry that Redis has taken; empty where there is none."""
        return self._last_id

    @property
    def trouble(self) -> str:
        """Why Redis takes nothing now; empty when it does."""
        return self._trouble

    @property
    def blocked_s(self) -> float:
        """For how many seconds Redis took nothing of what there was to send, in all."""
        since = self._stuck_since
        return self._stuck_s + (0.0 if since is None else monotonic() - since)

    @property
    def mean_bytes(self) -> float:
        """How many bytes an event has, by those that are being sent; 0: there are none.

        That is as it is stored, and at least what an event that waits has in memory.
        """
        entries = self._in_hand
        number = sum(each.count for each in entries)
        if not number:
            return 0.0
        return max(_LEAST_BYTES, sum(len(each.body) for each in entries) / number)

    def consume(self, batch: Sequence[Item]) -> None:
        """Ship a batch, and return when it is there or was given up. Drafts in it are plain."""
        with self._turn:
            self._said = self._describe()
            entries = [self._entry(number, body) for number, body in self._packed(batch)]
            self._in_hand = entries
            self._ship(entries)
            self._in_hand = []

    def finish(self, timeout: float) -> bool:
        """Say how far we came, and stop trying after ``timeout`` seconds.

        False when something was given up, now or before; from then on all that comes is.
        """
        self._until = monotonic() + timeout
        self._finishing.set()
        if not self._turn.acquire(timeout=max(0.0, timeout)):
            _log.warning("time is up: what Redis has not taken of the events is lost, and counted")
            return False
        try:
            if self._number and not self._ended:
                self._ended = self._ship([self._entry(0, b"\x90")])
        finally:
            self._turn.release()
        self._close()
        return not self._lost

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, with a connection of its own."""
        if self._client is not None:
            _abandoned.append(self._client)
        self._client = None
        self.epoch = f"{time_ns():x}-{os.getpid():x}"
        self._number = self._shipped = 0
        self._last_id = b""
        self._lost: dict[str, int] = {}
        self._trouble = ""
        self._in_hand = list[Entry]()
        self._stuck_since: float | None = None
        self._stuck_s = 0.0
        self._silent_until = 0.0
        self._ended = False
        self._backoff = Backoff()
        self._finishing: threading.Event = threading.Event()
        self._until = float("inf")
        self._lock: Any = threading.RLock()
        self._turn: threading.Lock = threading.Lock()

    def _packed(self, batch: Sequence[Item]) -> list[tuple[int, bytes]]:
        given: Sequence[Any] = batch
        if not isinstance(batch, (Alike, Mixed)):
            given = without_contexts(batch)
        try:
            return list(pack_all(given))
        except Exception as error:  # noqa: BLE001 - one of them: it is found below, and counted
            told("redis sender", error)
            events = events_of(without_contexts(batch))
            return list(pack_all([each for each in events if self._can_be_packed(each)]))

    def _can_be_packed(self, event: Event) -> bool:
        try:
            encode_columns([event])
        except Exception as error:  # noqa: BLE001 - a value of an application's own kind
            self._count("rejected", 1)
            self._swallowing.caught(error, "%s cannot be shipped", event.event_type)
            return False
        return True

    def _describe(self) -> bytes:
        """Return what the producer is; what it was before, where it cannot say."""
        try:
            return self._source()
        except Exception as error:  # noqa: BLE001 - a provider or sampler of anybody's
            self._swallowing.caught(error, "the application cannot be described")
            return self._said

    def _entry(self, count: int, body: bytes) -> Entry:
        first = self._number
        self._number += count
        return Entry(self.producer, self.epoch, first, count, time_ns(), self._said, body)

    def _ship(self, entries: list[Entry]) -> bool:
        """Have Redis take the entries, in order; False when they were given up."""
        signed = [(each.count, each.fields(self._stream, self._keys)) for each in entries]
        while signed:
            if self._finishing.is_set() and monotonic() >= self._until:
                self._count("shutdown", sum(count for count, _ in signed))
                return False
            try:
                signed = self._add(signed)
            except Exception as error:  # noqa: BLE001 - of the package or of the system's
                self._failed(error)
            if signed:
                self._wait()
        return True

    def _add(self, entries: list[tuple[int, list[bytes]]]) -> list[tuple[int, list[bytes]]]:
        """Send what there is at once, and return what must be sent again."""
        if self._client is None:
            self._client = connect(self._url)
        answers = self._to.add(self._client, [fields for _, fields in entries])
        for done, answer in enumerate(answers):
            if isinstance(answer, Exception):
                self._failed(answer)
                self._close()  # who has its name may be another by now: a replica stays one
                return entries[done:]
            self._last_id = answer
            self._shipped += entries[done][0]
        self._backoff.reset()
        self._trouble = ""
        if self._stuck_since is not None:
            self._stuck_s += monotonic() - self._stuck_since
            self._stuck_since = None
        return []

    def _wait(self) -> None:
        """Wait before the next try, no longer than there is time."""
        wait = self._backoff.next()
        until = monotonic() + wait
        while self.on_wait is not None and not self._finishing.is_set() and monotonic() < until:
            self.on_wait()
            self._finishing.wait(max(0.0, min(_LOOK_S, until - monotonic())))
        if not self._finishing.wait(max(0.0, until - monotonic())):
            return
        time.sleep(max(0.0, min(wait, self._until - monotonic())))

    def _failed(self, error: Exception) -> None:
        told("redis sender", error)
        if self._stuck_since is None:
            self._stuck_since = monotonic()
        what, mend = explained(error, self._url)
        self._trouble = what
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SAY_AGAIN_S
            _log.warning(
                "events wait in memory, as %s: %s (said once a minute at most)", what, mend
            )

    def _count(self, reason: str, number: int) -> None:
        if number:
            with self._lock:
                self._lost[reason] = self._lost.get(reason, 0) + number

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                let_go(client)
            except Exception as error:  # noqa: BLE001 - it is gone either way
                told("redis sender", error)

"""Work: read, tell, send, take out; again and again, until it is to end.

Holds what it has read until the collector has taken what was made of it. Redis and the collector
may go and come back meanwhile.
"""

import logging
import threading
from collections import Counter
from time import monotonic
from typing import Final

import msgspec

from otel_dbevents.bus.redis.connecting import Backoff, explained
from otel_dbevents.bus.redis.reader import Counts, Held, Reader
from otel_dbevents.sidecar.outlets import Outlets, mend_of
from otel_dbevents.sidecar.parcel import Parcel
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.swallowing import told

_READ: Final = 50
_WAIT_S: Final = 0.1
_GATHER_S: Final = 0.5
_MOST_EVENTS: Final = 5_000
_SAY_AGAIN_S: Final = 60.0
_LOOK_S: Final = 1.0
_log = logging.getLogger("otel_dbevents.sidecar")


class _TakenOverError(Exception):
    """What we hold is another's."""


class State(msgspec.Struct):
    """How it goes, for whoever asks from another thread."""

    redis: str = "not connected yet"
    """What is wrong with Redis; empty: nothing."""
    collector: str = ""
    """What is wrong with the collector; empty: nothing, as far as is known."""
    beat: float = 0.0
    """When the work was last seen going on, by the monotonic clock."""
    spans: int = 0
    records: int = 0
    retries: int = 0
    """How often the collector did not take something."""
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    """What the collector refused for good, by signal: spans, log records, of metrics sets and
    points."""
    redis_since: float = 0.0
    """Since when Redis is not there, by the monotonic clock; 0: it is."""
    collector_since: float = 0.0
    """Since when the collector takes nothing; 0: it does."""
    pause_s: float = 0.0
    """The last pause that an exporter took, where the collector asked for one: Retry-After."""
    held_entries: int = 0
    """Entries that are in hand, until the collector has taken what was made of them."""
    waiting_entries: int = 0
    waiting_s: float = 0.0
    is_ending: bool = False
    """Whether it is to end, and sends what it has in hand first."""


class Work:
    """The sidecar's loop, on one thread; `stop` is called from another."""

    def __init__(self, reader: Reader, tellers: Tellers, outlets: Outlets, url: str) -> None:
        self._reader, self._tellers, self._outlets = reader, tellers, outlets
        self._url = url
        self.state = State()
        self._batch: list[Held] = []
        self._failed: list[Held] = []
        self._events = 0
        self._began = 0.0
        self._parcel: Parcel | None = None
        self._stopping = threading.Event()
        self._until = float("inf")
        self._silent: dict[str, float] = {}
        self._down = set[str]()
        """Which of Redis and the collector was said to be away."""
        self._looked = self._renewed = 0.0
        self._again_at = 0.0
        """By the monotonic clock: not before then the collector is to be asked again."""
        self._slice_s = max(0.01, min(1.0, reader.claim_after_s / 4))

    @property
    def counts(self) -> Counts:
        """What the reader has counted."""
        return self._reader.counts

    def stop(self, timeout: float) -> None:
        """Have it end; what is in hand is sent first, in ``timeout`` seconds at most."""
        self._until = monotonic() + timeout
        self.state.is_ending = True
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop` was called. What is not sent by then stays in Redis."""
        backoff = Backoff()
        while not self._is_over():
            try:
                self._turn()
                self._is_back("redis", self.state.redis_since, "Redis answers again")
                self.state.redis, self.state.redis_since = "", 0.0
                backoff.reset()
            except _TakenOverError:
                self._begin_anew()
            except Exception as error:  # noqa: BLE001 - of the package redis, or of the system's
                self._redis_failed(error)
                self._stopping.wait(backoff.next())
        self._leave()

    def _is_over(self) -> bool:
        if not self._stopping.is_set():
            return False
        is_left = self._batch or self._parcel or self._tellers.is_dirty
        return not is_left or monotonic() >= self._until

    def _turn(self) -> None:
        self.state.beat = monotonic()
        self.state.held_entries = len(self._batch)
        self._reader.join()
        self._put_aside()
        if self._parcel is not None or self._is_due() or self._stopping.is_set():
            self._send()
            return
        self._look()  # it may raise, and then nothing that was read is dropped
        held = self._reader.read(_READ, _WAIT_S)
        if held:
            self._began = self._began or monotonic()
            self._failed += self._tellers.tell(held)
            told = [each for each in held if not any(each is one for one in self._failed)]
            self._batch += told
            self._events += sum(len(each.events) for each in told)
        elif self._batch or self._tellers.is_dirty:
            self._send()
        elif self._reader.open_lines:  # it was not known yet what of them is lost
            self._settle()

    def _put_aside(self) -> None:
        """Put what could not be told to the dead letters, so that it does not hold up the rest."""
        while self._failed:
            held = self._failed[-1]
            numbers = range(len(held.events))
            self._reader.put_aside(held, "telling", numbers, stage="tell")
            self._failed.pop()

    def _is_due(self) -> bool:
        gathered = monotonic() - self._began >= _GATHER_S
        return bool(self._batch) and (gathered or self._events >= _MOST_EVENTS)

    def _send(self) -> None:
        """Send what was made, wait where it is not taken, and take out what is sent."""
        if self._parcel is None:
            self._parcel = Parcel(self._tellers.collect(), self._outlets)
        if not self._is_sent(self._parcel):
            return
        self._is_back("collector", self.state.collector_since, "the collector takes again")
        self.state.collector, self.state.collector_since = "", 0.0
        self._reader.commit(self._batch)
        self.state.spans += self._parcel.taken["traces"]
        self.state.records += self._parcel.taken["logs"]
        self._count_refused(self._parcel)
        self._batch, self._events, self._began, self._parcel = [], 0, 0.0, None
        self._settle()

    def _settle(self) -> None:
        """Tell what never came, and let go of processes that ended and of which all is known."""
        for line, counts in self._reader.settle().items():
            self._tellers.lose(line, counts)
        self._tellers.forget_ended(self._reader.open_lines)

    def _is_sent(self, parcel: Parcel) -> bool:
        """Send it, again and again until it is taken; False: time is up before that."""
        backoff = Backoff(0.1, 10.0)
        while self._may_send():
            if parcel.send(self._beat):
                return True
            self._collector_failed(parcel.waits_for)
            self._again_at = monotonic() + max(backoff.next(), self._outlets.last.wait_s)
        return False

    def _may_send(self) -> bool:
        """Wait for as long as it was asked for, or failed; False: this process is to end first."""
        while (left := self._again_at - monotonic()) > 0:
            if not self._stopping.wait(min(left, self._slice_s)):
                self._beat()
                self._look()  # what waits grows meanwhile
            elif self._again_at >= self._until:
                self._until = monotonic()  # what waits stays in Redis
            else:
                threading.Event().wait(min(left, self._slice_s))
            if self._stopping.is_set() and monotonic() >= self._until:
                return False
        return not self._stopping.is_set() or monotonic() < self._until

    def _count_refused(self, parcel: Parcel) -> None:
        self.state.refused.update(parcel.refused)
        for signal, number in parcel.refused.items():
            words = f" ({parcel.words})" if parcel.words else ""
            self._say(
                f"refused {signal}",
                "the collector refused %d of the %s for good%s; they are not sent again, and "
                "counted in refused_total (said once a minute at most)",
                number,
                signal,
                words,
            )

    def _beat(self) -> None:
        """Show that it goes on: to whoever asks, and to the others of the group now and then."""
        now = self.state.beat = monotonic()
        quiet = now - max(self._renewed, self._began)
        if quiet >= self._reader.claim_after_s and not self._reader.holds_all():
            raise _TakenOverError
        if quiet >= self._reader.claim_after_s / 4:
            self._renewed = now
            self._reader.renew()

    def _begin_anew(self) -> None:
        """Forget what is in hand: we stood still for so long that another took it over."""
        _log.warning("this process stood still, and another took over what it held")
        self._reader.drop()
        self._tellers.begin_anew()
        self._failed.clear()
        self._batch, self._events, self._began, self._parcel = [], 0, 0.0, None

    def _look(self) -> None:
        """Look now and then how much waits."""
        if monotonic() - self._looked >= _LOOK_S:
            self._looked = monotonic()
            self.state.waiting_entries, self.state.waiting_s = self._reader.lag()
            self.state.redis, self.state.redis_since = "", 0.0  # it answers

    def _redis_failed(self, error: Exception) -> None:
        told("sidecar redis", error)
        what, mend = explained(error, self._url)
        self.state.redis = what
        self.state.redis_since = self.state.redis_since or monotonic()
        if self._say(what, "%s: %s (said once a minute at most)", what, mend):
            self._down.add("redis")
        try:
            self._reader.reconnect()
        except Exception as closing:  # noqa: BLE001 - it is gone either way
            told("sidecar redis", closing)

    def _collector_failed(self, signal: str) -> None:
        self.state.retries += 1
        self.state.collector_since = self.state.collector_since or monotonic()
        self.state.pause_s = self._outlets.pause_s
        code = self._outlets.code
        what = f"the collector does not take {signal}" + (f" ({code})" if code else "")
        self.state.collector = what
        text = "%s: they wait in Redis; %s (said once a minute at most)"
        if self._say(f"collector {code}", text, what, mend_of(code)):
            self._down.add("collector")

    def _say(self, about: str, text: str, *words: object) -> bool:
        """Say it, unless it was said in the last minute."""
        now = monotonic()
        if now < self._silent.get(about, 0.0):
            return False
        self._silent[about] = now + _SAY_AGAIN_S
        _log.warning(text, *words)
        return True

    def _is_back(self, who: str, since: float, text: str) -> None:
        """Say that it is, where it was said that it is not."""
        if who in self._down:
            self._down.discard(who)
            _log.info("%s, after %.0f s", text, monotonic() - since)

    def _leave(self) -> None:
        self.state.held_entries = len(self._batch)
        try:
            self._reader.close()
        except Exception as error:  # noqa: BLE001 - the group knows what we hold
            told("sidecar redis", error)
        self._tellers.close()

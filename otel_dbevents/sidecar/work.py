"""Work: read, tell, send, take out; again and again, until it is to end.

Holds what it has read until the collector has taken what was made of it. Redis and the collector
may go and come back meanwhile.
"""

import logging
import threading
from time import monotonic
from typing import Final

from otel_dbevents.bus.redis.connecting import Backoff, explained
from otel_dbevents.bus.redis.reader import Counts, Held, Reader
from otel_dbevents.sidecar.asking import Asking
from otel_dbevents.sidecar.outlets import Outlets, mend_of
from otel_dbevents.sidecar.parcel import Parcel
from otel_dbevents.sidecar.state import State
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.words import Words
from otel_dbevents.swallowing import told

_READ: Final = 50
_WAIT_S: Final = 0.1
_GATHER_S: Final = 0.5
_MOST_EVENTS: Final = 5_000
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of entries that are gathered: what is made of them takes some ten times as much memory."""
_LOOK_S: Final = 1.0
_log = logging.getLogger("otel_dbevents.sidecar")


class _TakenOverError(Exception):
    """What we hold is another's."""


class Work:
    """The sidecar's loop, on one thread; `stop` is called from another.

    While there is nothing to send the collector is asked every ``ask_every_s`` seconds whether it
    would take something; one that would not, more often.
    """

    def __init__(
        self,
        reader: Reader,
        tellers: Tellers,
        outlets: Outlets,
        url: str,
        *,
        ask_every_s: float = 30.0,
    ) -> None:
        self._reader, self._tellers, self._outlets = reader, tellers, outlets
        self._url = url
        self._asking = Asking(outlets, ask_every_s)
        self.state = State(collector="the collector has not answered yet" if self._asking else "")
        self._batch: list[Held] = []
        self._failed: list[Held] = []
        self._events = self._bytes = 0
        self._began = 0.0
        self._parcel: Parcel | None = None
        self._stopping = threading.Event()
        self._until = float("inf")
        self._words = Words()
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
                self._words.is_back("redis", self.state.redis_since, "Redis answers again")
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
            self._bytes += sum(len(each.entry.body) for each in told)
        elif self._batch or self._tellers.is_dirty:
            self._send()
        else:
            if self._reader.open_lines:  # it was not known yet what of them is lost
                self._settle()
            self._ask()

    def _put_aside(self) -> None:
        """Put what could not be told to the dead letters, so that it does not hold up the rest."""
        while self._failed:
            held = self._failed[-1]
            numbers = range(len(held.events))
            self._reader.put_aside(held, "telling", numbers, stage="tell")
            self._failed.pop()

    def _is_due(self) -> bool:
        gathered = monotonic() - self._began >= _GATHER_S
        is_much = self._events >= _MOST_EVENTS or self._bytes >= _MOST_BYTES
        return bool(self._batch) and (gathered or is_much)

    def _send(self) -> None:
        """Send what was made, wait where it is not taken, and take out what is sent."""
        if self._parcel is None:
            self._parcel = Parcel(self._tellers.collect(), self._outlets)
        if not self._is_sent(self._parcel):
            return
        if self._parcel.was_answered:
            self._collector_takes()
        self._reader.commit(self._batch)
        self.state.spans += self._parcel.taken["traces"]
        self.state.records += self._parcel.taken["logs"]
        self._count_refused(self._parcel)
        self._batch, self._parcel = [], None
        self._events, self._bytes, self._began = 0, 0, 0.0
        self._settle()

    def _settle(self) -> None:
        """Tell what never came, and let go of processes that ended and of which all is known."""
        for entry, number in self._reader.take_refused():
            self._tellers.lose_of(entry, {"rejected": number})
        for line, counts in self._reader.settle().items():
            self._tellers.lose(line, counts)
        self._tellers.forget_ended(self._reader.open_lines)

    def _ask(self) -> None:
        """Ask now and then whether the collector would take something, as there is nothing."""
        if not self._asking.is_due:
            return
        if signal := self._asking.ask():
            self._again_at = monotonic() + self._outlets.last.wait_s
            self._collector_away(signal, "nothing waits for it yet")
        else:
            self._collector_takes()

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
            self._words.say(
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
        self._batch, self._parcel = [], None
        self._events, self._bytes, self._began = 0, 0, 0.0

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
        if self._words.say(what, "%s: %s (said once a minute at most)", what, mend):
            self._words.down.add("redis")
        try:
            self._reader.reconnect()
        except Exception as closing:  # noqa: BLE001 - it is gone either way
            told("sidecar redis", closing)

    def _collector_failed(self, signal: str) -> None:
        self.state.retries += 1
        self._collector_away(signal, "they wait in Redis")

    def _collector_away(self, signal: str, meanwhile: str) -> None:
        self.state.collector_since = self.state.collector_since or monotonic()
        self.state.pause_s = self._outlets.pause_s
        code = self._outlets.code
        what = f"the collector does not take {signal}" + (f" ({code})" if code else "")
        self.state.collector = what
        text = "%s: %s; %s (said once a minute at most)"
        if self._words.say(f"collector {code}", text, what, meanwhile, mend_of(code)):
            self._words.down.add("collector")

    def _collector_takes(self) -> None:
        self._asking.was_answered()
        self._words.is_back("collector", self.state.collector_since, "the collector takes again")
        self.state.collector, self.state.collector_since = "", 0.0

    def _leave(self) -> None:
        self.state.held_entries = len(self._batch)
        try:
            self._reader.close()
        except Exception as error:  # noqa: BLE001 - the group knows what we hold
            told("sidecar redis", error)
        self._tellers.close()

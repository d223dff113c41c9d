"""Handlers in the sidecar: functions of the user's own, each with a group of its own in Redis.

In: a `Handler` and a reader of its group. Out: each event of its types, brought to the function by
a `Handling`, on a thread of its own.

Promised:

- A handler is given every event of its types that is in the stream, from the oldest there is when
  it is first named. A slow one is behind by itself alone: what waits for it waits in the stream,
  and what the stream gives up before it came to it is counted as lost by this handler.
- An event is given to it up to three times, with growing pauses; then it is a dead letter of this
  handler, and the next event's turn. No other handler sees an event again for that.
- An entry (up to 100 events) is taken out of the group's hands when all of its events were
  handled. So a killed sidecar loses none, and the next one may give it some of one entry again.
- A handler that takes longer for one event than ``--claim-after`` may have a second sidecar give
  it that entry too.
"""

import logging
import threading
from collections import Counter
from time import monotonic
from typing import Final

import msgspec
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_dbevents.bus.handlers import Loop, is_async, not_awaiting, suppressed
from otel_dbevents.bus.redis.connecting import Backoff, explained
from otel_dbevents.bus.redis.held import Counts, Held
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.events import Event
from otel_dbevents.sidecar.finding import Handler
from otel_dbevents.swallowing import Swallowing, told

TRIES: Final = 3
_READ: Final = 4
_WAIT_S: Final = 0.2
_LOOK_S: Final = 1.0
_log = logging.getLogger("otel_dbevents.sidecar")


class Progress(msgspec.Struct):
    """How a handler does, for whoever asks from another thread."""

    handled: int = 0
    """Events it was given and did not fail at."""
    retries: int = 0
    dead: int = 0
    """Events that failed three times."""
    redis: str = ""
    """What is wrong with Redis; empty: nothing."""
    waiting_entries: int = 0
    waiting_s: float = 0.0


class Handling:
    """Brings events to one handler, on a thread of its own, from `start` to `stop`.

    Args:
        handler: the function.
        reader: of the handler's own group.
        url: of the Redis, for what is said of it.
        least_s: the first pause before another try; each next is twice as long.

    """

    def __init__(self, handler: Handler, reader: Reader, url: str, *, least_s: float = 0.1) -> None:
        self.handler, self._reader, self._url = handler, reader, url
        self._least_s = least_s
        self.progress = Progress()
        self._loop = Loop() if is_async(handler.call) else None
        self._plain = not_awaiting(handler.call)
        self._stopping = threading.Event()
        self._swallowing = Swallowing(f"handler {handler.name}", _log)
        self._silent_until = self._looked = self._renewed = 0.0
        self._thread = threading.Thread(
            target=self._run, name=f"otel-dbevents-handler-{handler.name}", daemon=True
        )

    @property
    def counts(self) -> Counts:
        """What its reader has counted."""
        return self._reader.counts

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Have it end after the event that it is at. What it was not given stays in Redis."""
        self._stopping.set()

    def join(self, timeout: float) -> None:
        """Wait for its end; a handler that does not return is left where it is."""
        self._thread.join(timeout)

    def _run(self) -> None:
        otel_context.attach(suppressed(Context()))
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                self._turn()
                self.progress.redis = ""
                backoff.reset()
            except Exception as error:  # noqa: BLE001 - of the package redis, or of the system's
                self._redis_failed(error)
                self._stopping.wait(backoff.next())
        self._leave()

    def _turn(self) -> None:
        for held in self._reader.read(_READ, _WAIT_S):
            if not self._handle(held):
                return
        self._reader.settle()
        if monotonic() - self._looked >= _LOOK_S:
            self._looked = monotonic()
            self.progress.waiting_entries, self.progress.waiting_s = self._reader.lag()

    def _handle(self, held: Held) -> bool:
        """Give an entry's events to the handler; False when it is to end before all were given."""
        failed: dict[int, str] = {}
        types, handled = self.handler.types, 0
        for number, event in enumerate(held.events):
            if types and not isinstance(event, types):
                continue
            if self._stopping.is_set():
                return False
            self._renew()
            reason = self._give(event)
            if reason is None:
                return False
            if reason:
                failed[number] = reason
            else:
                handled += 1
        if failed:
            reason = Counter(failed.values()).most_common(1)[0][0]
            self._reader.put_aside(
                held,
                reason,
                list(failed),
                stage="handler",
                handler=self.handler.name,
                tries=TRIES,
            )
        else:
            self._reader.commit([held])
        self.progress.handled += handled
        self.progress.dead += len(failed)
        return True

    def _give(self, event: Event) -> str | None:
        """Give it one event; return why it failed, "" if it did not, None if it is to end."""
        backoff, reason = Backoff(self._least_s, 5.0), ""
        for left in reversed(range(TRIES)):
            try:
                if self._loop is not None:
                    self._loop.run(self.handler.call(event))
                else:
                    self._plain(event)
            except BaseException as error:  # noqa: BLE001 - whatever a handler raises
                reason = type(error).__name__
                self._swallowing.caught(
                    error, "the handler %s failed at %s", self.handler.name, event.event_type
                )
            else:
                return ""
            if left:
                self.progress.retries += 1
                if self._stopping.wait(backoff.next()):
                    return None
        return reason

    def _renew(self) -> None:
        """Show the others of the group now and then that it goes on."""
        now = monotonic()
        if now - self._renewed >= self._reader.claim_after_s / 4:
            self._renewed = now
            self._reader.renew()

    def _redis_failed(self, error: Exception) -> None:
        told("sidecar handler redis", error)
        what, mend = explained(error, self._url)
        self.progress.redis = what
        if monotonic() >= self._silent_until:
            self._silent_until = monotonic() + 60.0
            _log.warning("handler %s: %s: %s", self.handler.name, what, mend)
        self._reader.drop()

    def _leave(self) -> None:
        try:
            self._reader.close()
        except Exception as error:  # noqa: BLE001 - the group knows what we hold
            told("sidecar handler redis", error)
        if self._loop is not None:
            self._loop.close()

"""Telling: what becomes of every event, on the bus's worker.

Telemetry is made of it here; where the bus is on Redis it is shipped to who makes it.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from otel_dbevents.bridge import Bridge, Flow
from otel_dbevents.bus import EventBus, Subscription
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.compat import warn_if_contrib_active
from otel_dbevents.judges import Judges
from otel_dbevents.pipeline.judging import Judging

if TYPE_CHECKING:
    from otel_dbevents.bus.limiter import Limiter
    from otel_dbevents.bus.redis.sender import Sender
    from otel_dbevents.pipeline.health import Health


class Telling:
    """The subscriber that every event comes to.

    Args:
        bus: brings the events.
        bridge: makes telemetry of them; of those that are shipped it has only the pools' numbers
            and the losses to tell.
        health: is asked to begin with the first, and has the queries' durations.
        sender: ships them; None: they are told here.
        subscribe: has batches brought; None: as events, by the bus.
        judges: judge what is shipped, on the same worker; None: they are brought it otherwise.
        limiter: leaves out what goes beyond a rate; None: nothing is left out.
        before: called before each batch, ``after`` after it.

    """

    def __init__(
        self,
        bus: EventBus,
        bridge: Bridge,
        health: "Health",
        *,
        sender: "Sender | None",
        limiter: "Limiter | None",
        subscribe: Callable[..., Subscription] | None = None,
        judges: Judges | None = None,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
    ) -> None:
        self._bus, self._bridge, self._health = bus, bridge, health
        self._sender, self._limiter = sender, limiter
        self._before, self._after = before, after
        self._looked_again = False
        self._missed_by_others: dict[int, int] = {}
        self._most_bytes = 0
        self._when_idle: list[Callable[[], object]] = [bridge.settle]
        if judges is not None:
            self._when_idle.append(judges.settle_quiet)
        self._judging = None if judges is None else Judging(judges, self._waiting)
        self.subscription = (subscribe or bus.subscribe)(
            self._consume, name="bridge", idle=self._be_idle
        )
        if sender is not None:
            sender.on_wait = self._wait

    def _consume(self, batch: Sequence[Any]) -> None:
        """Hand on a batch; with the first, look for what was turned on after us.

        What is shipped may be drafts.
        """
        if not self._looked_again:
            self._looked_again = True
            warn_if_contrib_active()
        if self._before is not None:
            self._before()
        whole, bridge = batch, self._bridge
        if self._limiter is not None:
            batch, limited = self._limiter.split(batch)
            if limited:
                bridge.count(limited)
        self._health.awake()
        if self._judging is not None:
            self._judging.take(batch)
        if self._sender is None:
            bridge.consume(batch)
        else:
            bridge.consume(())  # it has the pools' numbers and the losses to tell
            self._sender.consume(batch)
        if self._sender is not None or not bridge.has_metrics:
            self._health.windows.take_events(whole)
        if self._after is not None:
            self._after()

    def flow(self) -> Flow:
        """Return what waits and what was limited, for the metrics."""
        limited = None if self._limiter is None else self._limiter.limited
        if self._sender is None or not isinstance(self.subscription, MemorySubscription):
            return Flow(limited)
        buffer = self.subscription.buffer
        return Flow(limited, len(buffer), buffer.capacity, self._sender.blocked_s)

    def lost(self) -> dict[str, int]:
        """Return what the bus lost: ``queue_full`` here, ``handler_queue_full`` with others."""
        lost = dict(self._bus.lost)
        dropped = lost.pop("queue_full", 0)
        # Read after the sum, which may have grown meanwhile; a count must not shrink.
        here = self.subscription.lost.get("queue_full", 0)
        process = os.getpid()
        elsewhere = max(dropped - here, self._missed_by_others.get(process, 0))
        self._missed_by_others = {process: elsewhere}
        lost |= {"queue_full": here} if here else {}
        if self._judging is not None and (failed := self._judging.errors):
            lost["handler_error"] = lost.get("handler_error", 0) + failed
        return lost | ({"handler_queue_full": elsewhere} if elsewhere else {})

    def keep_within(self, most_bytes: int) -> None:
        """While Redis takes nothing, let the oldest give way beyond so many bytes of events."""
        self._most_bytes = most_bytes

    def _be_idle(self) -> None:
        for settle in self._when_idle:
            settle()

    def _wait(self) -> None:
        """See to what waits while Redis takes nothing: it is judged, and must not be too much."""
        if self._judging is not None:
            self._judging.look_ahead()
        if isinstance(self.subscription, MemorySubscription) and self._most_bytes:
            buffer, mean_bytes = self.subscription.buffer, self._mean_bytes()
            while len(buffer) * mean_bytes > self._most_bytes:
                buffer.trim()

    def _mean_bytes(self) -> float:
        return 0.0 if self._sender is None else self._sender.mean_bytes

    def _waiting(self) -> Sequence[Any]:
        subscription = self.subscription
        return subscription.waiting() if isinstance(subscription, MemorySubscription) else ()

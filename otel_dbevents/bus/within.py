"""Handlers that are called within ``publish``, each event in its turn."""

import threading
from collections import deque
from typing import Any, Final, TypeAlias

from otel_dbevents.bus import Delivery
from otel_dbevents.bus.buffer import Buffer
from otel_dbevents.bus.handlers import Direct
from otel_dbevents.bus.losses import Losses

_ROUNDS: Final = 16

Handlers: TypeAlias = tuple[Direct, ...]


class Within:
    """Calls handlers on the thread that publishes; what they publish waits for its turn.

    Args:
        capacity: for so many events of finalizers there is room until they can be delivered.

    """

    def __init__(self, capacity: int) -> None:
        self._left: Buffer[tuple[Handlers, Delivery]] = Buffer(capacity)
        self._turn = threading.local()

    def deliver(self, handlers: Handlers, item: Delivery) -> None:
        """Call the handlers for one event, or leave it to the call of one that is under way."""
        waiting: deque[tuple[Handlers, Delivery]] | None
        waiting = getattr(self._turn, "waiting", None)
        if waiting is not None:
            waiting.append((handlers, item))
            return
        waiting = self._turn.waiting = deque([(handlers, item)])
        try:
            while waiting:
                handlers, (event, context) = waiting.popleft()
                for each in handlers:
                    each.call(event, context)
        finally:
            self._turn.waiting = None

    def leave(self, handlers: Handlers, item: Delivery) -> None:
        """Keep what a finalizer published, which may call no handler, for `deliver_left`."""
        self._left.put((handlers, item))

    def deliver_left(self) -> None:
        """Call the handlers for what finalizers left, on this thread."""
        while len(self._left):
            for handlers, item in self._left.drain(_ROUNDS)[0]:
                self.deliver(handlers, item)

    def dropped(self) -> int:
        """Return how much of what finalizers left had to give way."""
        return self._left.dropped()

    def begin_anew(self) -> None:
        """Begin empty in a forked child: what was left is the parent's."""
        self._turn = threading.local()
        self._left.forget()


def is_wanted(handlers: Handlers, context: Any, losses: Losses) -> bool:
    """Whether any of these handlers has anything to do in this context."""
    try:
        for each in handlers:
            if each.wanted is None or each.wanted(context):
                return True
    except Exception as error:  # noqa: BLE001 - it runs within the application's call
        losses.add("handler_error", 0, error)
        return True
    return False

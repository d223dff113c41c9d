"""Where events are made of drafts: once each, whichever subscriber's worker comes to it first."""

import threading
from collections.abc import Sequence

from otel_dbevents.bus import Delivery, Item
from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event
from otel_dbevents.forks import hold

_making = threading.RLock()
"""No publishing thread ever waits for it."""
hold(lambda: (_making,))


def deliveries_of(batch: Sequence[Item]) -> list[Delivery]:
    """Return the batch's events with their contexts; what cannot be made is left out."""
    found: list[Delivery] = []
    with _making:
        for item in batch:
            if type(item) is tuple:
                found.append(item)
            elif (event := item.event()) is not None:  # type: ignore[union-attr]
                found.append((event, item.context))  # type: ignore[union-attr]
    return found


def event_of(item: Event | Draft) -> Event | None:
    """Return the event that this is, or is a draft of."""
    if not isinstance(item, Draft):
        return item
    with _making:
        return item.event()

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


def deliveries_of(batch: Sequence[Item], types: tuple[type[Event], ...]) -> list[Delivery]:
    """Return the batch's events with their contexts, as far as they are of these types.

    None: of all. What cannot be made is left out.
    """
    found: list[Delivery] = []
    with _making:
        for item in batch:
            if isinstance(item, tuple):
                found.append(item)
            elif not types or len(item.kinds) == 1:
                found.extend([(event, item.context) for event in item.events()])
            else:
                made = item.events()
                found.extend([(event, item.context) for event in made if isinstance(event, types)])
    return found


def events_of(item: Event | Draft) -> tuple[Event, ...]:
    """Return the event that this is, or those that it is a draft of."""
    if not isinstance(item, Draft):
        return (item,)
    with _making:
        return item.events()


def number_in(item: Item, types: tuple[type[Event], ...]) -> int:
    """Return how many events of these types an item comes to; none: of all."""
    if isinstance(item, tuple):
        return 1
    return sum(not types or issubclass(kind, types) for kind in item.kinds)

"""Where events are made of drafts: once each, whichever subscriber's worker comes to it first."""

import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from otel_dbevents.bus import Delivery, Item
from otel_dbevents.drafts import Alike, Draft
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
    append, last, are_all_wanted = found.append, None, False
    with _making:
        for item in batch:
            kind = type(item)
            if kind is tuple:
                append(item)  # type: ignore[arg-type]
                continue
            if kind is not last:  # each query comes by here, and most are what the last one was
                last = kind
                are_all_wanted = number_in(item, types) == len(item.kinds)  # type: ignore[union-attr]
            made = item.made or item.events()  # type: ignore[union-attr]
            context = item.context  # type: ignore[union-attr]
            for event in made:
                if are_all_wanted or isinstance(event, types):
                    append((event, context))
    return found


def items_of(
    batch: Sequence[Item], types: tuple[type[Event], ...], seen: Callable[[type[Draft]], bool]
) -> Sequence[Item]:
    """Return the same for whoever takes plain drafts as they are.

    Those that somebody else wants as events are made, as ``seen`` tells, and all others. Where
    there are plain ones of one type alone, they are `Alike`.
    """
    kinds: set[Any] = set(map(type, batch))
    kept = {kind for kind in kinds if kind is not tuple and kind.is_plain and not seen(kind)}
    if not kept:
        return deliveries_of(batch, types)
    if len(kinds) == 1:
        return Alike(batch)
    if kinds <= {*kept, tuple}:
        return batch
    found: list[Item] = []
    for kind, run in groupby(batch, type):
        these = [*run]
        found += these if kind in kept else deliveries_of(these, types)
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

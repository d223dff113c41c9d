"""Where events are made of drafts: once each, whichever subscriber's worker comes to it first."""

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

from otel_dbevents.bus import Delivery, Item
from otel_dbevents.drafts import Alike, Draft, Mixed
from otel_dbevents.events import Event
from otel_dbevents.forks import hold

_making = threading.RLock()
"""No publishing thread ever waits for it."""
hold(lambda: (_making,))
_made_of: Final = attrgetter("made")
_context_of: Final = attrgetter("context")


def deliveries_of(batch: Sequence[Item], types: tuple[type[Event], ...]) -> list[Delivery]:
    """Return the batch's events with their contexts, as far as they are of these types.

    None: of all. What cannot be made is left out.
    """
    kinds: set[Any] = set(map(type, batch))
    if len(kinds) == 1:  # most batches are such: queries alone
        (kind,) = kinds
        if kind is not tuple and len(kind.kinds) == 1 and number_in(batch[0], types):
            made = _all_made(kind, batch)
            if all(made):
                return list(zip(chain.from_iterable(made), map(_context_of, batch), strict=True))
    if tuple in kinds:
        _make([item for item in batch if type(item) is not tuple])
        kinds.discard(tuple)
    else:
        _make(batch)
    picked = {kind: _places_in(kind.kinds, types) for kind in kinds}
    found: list[Delivery] = []
    append = found.append
    item: Any
    for item in batch:
        kind = type(item)
        if kind is tuple:
            append(item)
        elif events := item.made:
            for place in picked[kind]:
                append((events[place], item.context))
    return found


def _places_in(kinds: Sequence[type[Event]], types: tuple[type[Event], ...]) -> tuple[int, ...]:
    """Return the places of those that are of these types; none: all."""
    wanted = _are_of(types, kinds)
    return tuple(place for place, is_wanted in enumerate(wanted) if is_wanted)


def events_of(items: Sequence[Event | Draft]) -> Iterable[Event]:
    """Return these events, and those that these drafts are of, in their order."""
    if all(_are_of((Draft,), set(map(type, items)))):
        made = list(map(_made_of, items))
        if all(made):
            return chain.from_iterable(made)
    _make([item for item in items if isinstance(item, Draft)])
    found: list[Event] = []
    for item in items:
        if isinstance(item, Draft):
            found.extend(item.made or ())
        else:
            found.append(item)
    return found


def items_of(
    batch: Sequence[Item], types: tuple[type[Event], ...], seen: Callable[[type[Draft]], bool]
) -> Sequence[Item]:
    """Return the same for whoever takes plain drafts as they are.

    Those that somebody else wants as events are made, as ``seen`` tells, and all others. Where
    there are plain ones of one type alone, they are `Alike`; with others they are `Mixed`.
    """
    kinds: set[Any] = set(map(type, batch))
    kept = {kind for kind in kinds if kind is not tuple and kind.is_plain and not seen(kind)}
    if not kept:
        return deliveries_of(batch, types)
    if len(kinds) == 1:
        return Alike(batch)
    if kinds <= {*kept, tuple}:
        return Mixed(batch)
    found: list[Item] = Mixed()
    for kind, run in groupby(batch, type):
        these = [*run]
        found += these if kind in kept or kind is tuple else deliveries_of(these, types)
    return found


def number_in(item: Item, types: tuple[type[Event], ...]) -> int:
    """Return how many events of these types an item comes to; none: of all."""
    return 1 if isinstance(item, tuple) else sum(_are_of(types, item.kinds))


def _are_of(types: tuple[type, ...], kinds: Iterable[type]) -> Iterable[bool]:
    return (not types or issubclass(kind, types) for kind in kinds)


def _all_made(kind: type[Draft], batch: Sequence[Any]) -> list[Any]:
    """Return what drafts of one class come to, made now where they are not."""
    made = list(map(_made_of, batch))
    if None in made:
        _make(batch, kind)
        made = list(map(_made_of, batch))
    return made


def _make(drafts: Sequence[Any], alone: type[Draft] | None = None) -> None:
    """Make the events that are not made yet, those of one class together.

    ``alone`` is the class of all of them, where they have one.
    """
    if None not in map(_made_of, drafts):
        return
    with _making:
        unmade = [draft for draft in drafts if draft.made is None]
        if alone is not None:
            alone.make_all(unmade, {})
            return
        by_class: dict[type[Draft], list[Any]] = {}
        for draft in unmade:
            kind = type(draft)
            if kind not in by_class:
                by_class[kind] = []
            by_class[kind].append(draft)
        found: dict[int, Any] = {}
        for kind, those in by_class.items():
            kind.make_all(those, found)

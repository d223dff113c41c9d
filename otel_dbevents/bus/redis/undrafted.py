"""Columns of plain drafts: the same as of the events, which nobody makes for it.

In: drafts and events of one type. Out: a column for each of its fields, in the fields' order.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec.structs import astuple, fields

from otel_dbevents.drafts import Alike, Draft, Span
from otel_dbevents.events import Event, joined_ids


class Contexts(NamedTuple):
    """The contexts of calls, and what says what their parents are."""

    contexts: Sequence[Any]
    span_in: Callable[[Any], Span | None]

    def spans(self) -> list[Span | None]:
        """Return the fields of the parent of each."""
        return [*map(self.span_in, self.contexts)]


Column: TypeAlias = Sequence[Any] | bytes | Contexts
"""The values. New ids are one string of bytes; a parent may be the tuple of its fields."""
Columns: TypeAlias = Mapping[str, Column]
"""By field, in the event's order; of those that are not here all have the default."""

_ID_BYTES: Final = 16


def columns_of(kinds: set[type[Any]], items: Sequence[Any]) -> Columns:
    """Return the columns of events and drafts of these ``kinds``: all of one type of events."""
    if len(kinds) > 1:
        return _put_together(items)
    told = items.columns if isinstance(items, Alike) else [*zip(*map(astuple, items), strict=True)]
    [kind] = kinds
    if not issubclass(kind, Draft):
        return dict(zip(kind.__struct_fields__, told, strict=True))
    made_at, places = _places(kind)
    made = told[made_at]
    if made.count(None) != len(made):  # somebody looked at some of them
        items = [was[0] if was else item for was, item in zip(made, items, strict=True)]
        return columns_of(set(map(type, items)), items)
    said: dict[str, Column] = {name: told[at] for name, at in places}
    said["parent"] = Contexts(said["parent"], kind.span_in)
    said["id"] = joined_ids(len(items))
    return said


@cache
def _places(kind: type[Draft]) -> tuple[int, Sequence[tuple[str, int]]]:
    """Return where a draft tells its event, and where the event's fields are, in their order.

    In the place of a parent and an id, which it has not, are its context and anything.
    """
    at = {name: place for place, name in enumerate(kind.__struct_fields__)}
    of = at | {"parent": at["context"], "id": 0}
    return at["made"], [(each, of[each]) for each in kind.kinds[0].__struct_fields__ if each in of]


def _put_together(items: Sequence[Event | Draft]) -> Columns:
    """Return the columns of what came as events and as drafts in turns."""
    parted: dict[type[Any], list[int]] = {}
    for place, item in enumerate(items):
        parted.setdefault(type(item), []).append(place)
    parts = [_whole(kind, [items[at] for at in places]) for kind, places in parted.items()]
    came = [*chain(*parted.values())]
    in_order = itemgetter(*sorted(range(len(came)), key=came.__getitem__))
    return {name: in_order([*chain(*(part[name] for part in parts))]) for name in parts[0]}


def _whole(kind: type[Any], items: Sequence[Event | Draft]) -> dict[str, Sequence[Any]]:
    """Return the columns of all fields with a value for each."""
    event: Any = kind.kinds[0] if issubclass(kind, Draft) else kind
    columns = columns_of({kind}, items)
    return {
        name: _each(columns[name]) if name in columns else (default,) * len(items)
        for name, default in _defaults(event)
    }


@cache
def _defaults(kind: type[Event]) -> Sequence[tuple[str, Any]]:
    return [(field.name, field.default) for field in fields(kind)]


def _each(column: Column) -> Sequence[Any]:
    if isinstance(column, Contexts):
        return column.spans()
    if isinstance(column, bytes):
        return [column[at : at + _ID_BYTES] for at in range(0, len(column), _ID_BYTES)]
    return column

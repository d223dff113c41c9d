"""Columns of plain drafts: the same as of the events, which nobody makes for it.

In: drafts and events of one type. Out: a column for each of its fields, in the fields' order.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

from msgspec.structs import astuple, fields

from otel_dbevents.drafts import Alike, Draft, Within
from otel_dbevents.events import Event, joined_ids

Column: TypeAlias = Sequence[Any] | bytes | Within
"""The values. New ids are one string of bytes; a parent may be the tuple of its fields."""
Columns: TypeAlias = Mapping[str, Column]
"""By field, in the event's order; of those that are not here all have the default."""

_ID_BYTES: Final = 16


def columns_of(kinds: set[type[Any]], items: Sequence[Any]) -> Columns:
    """Return the columns of events and drafts of these ``kinds``: all of one type of events."""
    if len(kinds) > 1:
        return _put_together(items)
    [kind] = kinds
    if not issubclass(kind, Draft):
        rows = zip(*map(astuple, items), strict=True)
        return dict(zip(kind.__struct_fields__, rows, strict=True))
    alike = items if isinstance(items, Alike) else Alike(items)
    told: Mapping[str, Any] = alike.columns
    made = told["made"]
    if made.count(None) != len(made):  # somebody looked at some of them
        items = [was[0] if was else item for was, item in zip(made, items, strict=True)]
        return columns_of(set(map(type, items)), items)
    more: dict[str, Column] = {"parent": alike.within, "id": joined_ids(len(items))}
    return {name: more[name] if name in more else told[name] for name in _told(kind)}


@cache
def _told(kind: type[Draft]) -> Sequence[str]:
    """Return the fields of a draft's event which it tells, or which are made for it."""
    told = {*kind.__struct_fields__, "parent", "id"}
    return [name for name in kind.kinds[0].__struct_fields__ if name in told]


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
    if isinstance(column, Within):
        spans = [None, *column.spans]
        return [spans[number] for number in column.numbers]
    if isinstance(column, bytes):
        return [column[at : at + _ID_BYTES] for at in range(0, len(column), _ID_BYTES)]
    return column

"""Columns of plain drafts: the same as of the events, which nobody makes for it.

In: drafts and events of one type. Out: a column for each of its fields, in the fields' order.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec.structs import astuple, fields

from otel_dbevents.drafts import Draft
from otel_dbevents.events import Event, TraceParent, joined_ids


class Contexts(NamedTuple):
    """The contexts of calls, and what says what their parents are."""

    contexts: Sequence[Any]
    parent_in: Callable[[Any], TraceParent | None]

    def parents(self) -> list[TraceParent | None]:
        """Return the parent of each."""
        return [*map(self.parent_in, self.contexts)]


Column: TypeAlias = Sequence[Any] | bytes | Contexts | None
"""The values. New ids are one string of bytes; None: all have the default."""

_ID_BYTES: Final = 16


def columns_of(kinds: set[type[Any]], items: Sequence[Any]) -> Sequence[Column]:
    """Return the columns of events and drafts of these ``kinds``: all of one type of events."""
    if len(kinds) > 1:
        return _put_together(items)
    told = [*zip(*map(astuple, items), strict=True)]
    [kind] = kinds
    if not issubclass(kind, Draft):
        return told
    said: dict[str, Any] = dict(zip(kind.__struct_fields__, told, strict=True))
    made = said["made"]
    if made.count(None) != len(made):  # somebody looked at some of them
        items = [was[0] if was else item for was, item in zip(made, items, strict=True)]
        return columns_of(set(map(type, items)), items)
    said["parent"] = Contexts(said["context"], kind.parent_in)
    said["id"] = joined_ids(len(items))
    return [*map(said.get, kind.kinds[0].__struct_fields__)]


def _put_together(items: Sequence[Event | Draft]) -> list[Column]:
    """Return the columns of what came as events and as drafts in turns."""
    parted: dict[type[Any], list[int]] = {}
    for place, item in enumerate(items):
        parted.setdefault(type(item), []).append(place)
    parts = [_whole(kind, [items[at] for at in places]) for kind, places in parted.items()]
    came = [*chain(*parted.values())]
    in_order = itemgetter(*sorted(range(len(came)), key=came.__getitem__))
    return [in_order([*chain(*columns)]) for columns in zip(*parts, strict=True)]


def _whole(kind: type[Any], items: Sequence[Event | Draft]) -> list[Sequence[Any]]:
    """Return the columns with a value for each."""
    event: Any = kind.kinds[0] if issubclass(kind, Draft) else kind
    defaults = _defaults(event)
    return [
        (default,) * len(items) if column is None else _each(column)
        for default, column in zip(defaults, columns_of({kind}, items), strict=True)
    ]


@cache
def _defaults(kind: type[Event]) -> Sequence[Any]:
    return [field.default for field in fields(kind)]


def _each(column: Sequence[Any] | Contexts) -> Sequence[Any]:
    if isinstance(column, Contexts):
        return column.parents()
    if isinstance(column, bytes):
        return [column[at : at + _ID_BYTES] for at in range(0, len(column), _ID_BYTES)]
    return column

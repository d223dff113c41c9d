"""Unpacking: a body's events, and what of it cannot be read.

All is checked by msgspec as it is decoded, column by column. Where anything is wrong, each event is
put together alone, as `codec.encode` would have told it, and read as that: a bad one costs itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter, signature
from itertools import accumulate, repeat
from typing import Annotated, Any, Final, TypeAlias, Union

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct, UnsetType

from otel_dbevents.bus.redis.fields import TABLES, TIMES, TRACE_ID, TRACE_ID_BYTES, Field, fields_of
from otel_dbevents.codec import decode
from otel_dbevents.events import EVENT_TYPES, Database, Event, Statement

_LARGEST: Final = 2**63 - 1
_MOST_KNOWN: Final = 4_096
_WRONG: Final = (LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What is raised by values that are not what they should be."""
_Things: TypeAlias = Mapping[type[Struct], Sequence[Any]]
"""By table: its objects, behind None, which has the number 0."""


class BodyError(ValueError):
    """It is no body, or says two things at once."""


class _Group(Struct, tag_field="event_type"):
    """All events of one type."""

    at: list[Annotated[int, Meta(ge=0)]] | None = None


class _Plan(Struct, frozen=True):
    """How objects of one type are made of their columns."""

    kind: Any
    positional: Sequence[Field]
    named: Sequence[Field]
    """What the constructor takes by name only, but for the id."""


def _column_type(field: Field) -> Any:
    if field.table is not None:
        return list[Annotated[int, Meta(ge=0 if field.is_optional else 1)]]
    if field.name == TRACE_ID:
        return tuple[bytes, list[Annotated[int, Meta(ge=0)]]]
    if field.id_bytes:
        return bytes
    return list[int] if field.name in TIMES else list[field.hint]  # type: ignore[name-defined]


def _type_of(kind: type[Struct], **options: Any) -> type[Struct]:
    """Return what the columns of this type are decoded as."""
    columns: list[Any] = [
        (each.name, _column_type(each) | UnsetType, UNSET) for each in fields_of(kind)
    ]
    return msgspec.defstruct(kind.__name__, columns, **options)


def _plan_of(kind: type[Struct]) -> _Plan:
    fields = fields_of(kind)
    by_name = {
        name for name, each in signature(kind).parameters.items()
        if each.kind is Parameter.KEYWORD_ONLY
    }  # fmt: skip
    return _Plan(
        kind,
        [each for each in fields if each.name not in by_name],
        [each for each in fields if each.name in by_name - {"id"}],
    )


_ID: Final = next(each for each in fields_of(Event) if each.name == "id")
_TABLE_PLANS: Final = {kind.__name__: _plan_of(kind) for kind in TABLES}
_Tables: Final = msgspec.defstruct(
    "_Tables", [(kind.__name__, _type_of(kind) | None, None) for kind in TABLES]
)
_GROUPS: Final = {kind: _type_of(kind, bases=(_Group,), tag=kind.__name__) for kind in EVENT_TYPES}
_PLANS: Final = {group: _plan_of(kind) for kind, group in _GROUPS.items()}
_BODY: Final[Any] = tuple[_Tables, list[Union[*_GROUPS.values()]]]  # type: ignore[misc, valid-type]
_decoder: Final = msgspec.msgpack.Decoder(_BODY)
_FIELDS: Final = {
    kind.__name__: {each.name: each for each in fields_of(kind)} for kind in (*EVENT_TYPES, *TABLES)
}


class BodyReader:
    """Makes events of bodies. What repeats in them (databases, statements) is one object.

    The bridge remembers what it knows of those by which objects they are.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def read(self, body: bytes) -> tuple[dict[int, Event], list[int]]:
        """Return a body's events by their places, and the places of those that cannot be read.

        Raises `BodyError` where the places are not known.
        """
        try:
            return self._at_once(body), []
        except _WRONG:
            return _one_by_one(body)

    def one_object(self, thing: Any) -> Any:
        """Return the object that is equal to this one and was there before, if there is one."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        return self._known.setdefault(thing, thing)

    def _at_once(self, body: bytes) -> dict[int, Event]:
        tables, groups = _decoder.decode(body)
        things = {plan.kind: self._things(plan, getattr(tables, name))
                  for name, plan in _TABLE_PLANS.items()}  # fmt: skip
        found: dict[int, Event] = {}
        number = 0
        for group in groups:
            events = _events(_PLANS[type(group)], group, things)
            number += len(events)
            found.update(zip(_places(group.at, len(events)), events, strict=True))
        _check_places(found, number)
        return found

    def _things(self, plan: _Plan, columns: Any) -> Sequence[Any]:
        if columns is None:
            return (None,)
        told = [(each, getattr(columns, each.name)) for each in plan.positional]
        lengths = [_length(each, column) for each, column in told if column is not UNSET]
        number = max(lengths, default=1)
        cells = [_cells(each, column, number, {}) for each, column in told]
        made = list(map(plan.kind, *cells))
        if plan.kind in (Database, Statement):
            made = list(map(self.one_object, made))
        return [None, *made]


def _events(plan: _Plan, group: Any, things: _Things) -> list[Event]:
    ids = _split(group.id, _ID.id_bytes)
    number, kind = len(ids), plan.kind
    rows = zip(
        *[_cells(each, getattr(group, each.name), number, things) for each in plan.positional],
        strict=True,
    )
    named = {
        each.name: _cells(each, column, number, things)
        for each in plan.named
        if (column := getattr(group, each.name)) is not UNSET
    }
    if not named:
        return [kind(*row, id=id_) for row, id_ in zip(rows, ids, strict=True)]
    return [
        kind(*row, id=id_, **dict(zip(named, more, strict=True)))
        for row, id_, more in zip(rows, ids, zip(*named.values(), strict=True), strict=True)
    ]


def _cells(field: Field, column: Any, number: int, things: _Things) -> Iterable[Any]:
    """Return a column's values, so many of them."""
    if column is UNSET:
        if field.default is NODEFAULT:
            raise BodyError(f"{field.name} is missing")
        return repeat(field.default, number)
    if field.name == TRACE_ID:
        ids = _split(column[0], TRACE_ID_BYTES)
        return _spread(_at(column[1], ids), number)
    if field.id_bytes:
        return _split(column, field.id_bytes)
    if field.name in TIMES:
        return _times(column)
    if field.table is not None:
        return _spread(_at(column, things[field.table]), number)
    return _spread(column, number)


def _at(places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    if min(places, default=0) < 0:
        raise BodyError("a number is below nothing")
    return [values[place] for place in places]


def _spread(column: Sequence[Any], number: int) -> Iterable[Any]:
    """Return so many values of a column that has as many, or the one that all have."""
    if len(column) == 1:
        return repeat(column[0], number)
    if len(column) != number:
        raise BodyError("a column has not as many values as it should")
    return column


def _split(ids: bytes, size: int) -> list[bytes]:
    if len(ids) % size:
        raise BodyError("an id is cut")
    return [ids[first : first + size] for first in range(0, len(ids), size)]


def _times(differences: Sequence[int]) -> list[int]:
    times = list(accumulate(differences))
    if times and not 0 <= min(times) <= max(times) <= _LARGEST:
        raise BodyError("a time is none")
    return times


def _length(field: Field, column: Any) -> int:
    """Return for how many objects a table's column tells; 1 may stand for any number."""
    if field.name == TRACE_ID:
        return len(column[1])
    return len(column) // (field.id_bytes or 1)


def _places(at: Any, number: int) -> Sequence[int]:
    return range(number) if at is None else at


def _check_places(found: Iterable[int], number: int) -> None:
    if sorted(found) != list(range(number)):
        raise BodyError("the places are not those of so many events")


def _one_by_one(body: bytes) -> tuple[dict[int, Event], list[int]]:
    """Return what can be read of a body in which something is wrong."""
    found: dict[int, Event] = {}
    bad: list[int] = []
    total = 0
    try:
        tables, groups = msgspec.msgpack.decode(body)
        for group in groups:
            number = len(_split(group["id"], _ID.id_bytes))
            places = _places(group.get("at"), number)
            total += number
            for place, row in zip(places, _rows(group, number, tables), strict=True):
                _read_one(row, place, found, bad)
        _check_places([*found, *bad], total)
    except (*_WRONG, AttributeError):
        raise BodyError("it is no body") from None
    return found, sorted(bad)


def _read_one(row: Any, place: int, found: dict[int, Event], bad: list[int]) -> None:
    try:
        found[place] = decode(msgspec.msgpack.encode(row))
    except _WRONG:
        bad.append(place)


def _rows(group: Any, number: int, tables: Any) -> Sequence[Any]:
    """Return events as mappings, as `codec.encode` tells them; None: it cannot be said."""
    try:
        fields = _FIELDS[group["event_type"]]
        those = {each.table for each in fields.values() if each.table is not None}
        things = {kind: _dicts(kind, tables.get(kind.__name__)) for kind in those}
        rows = _mappings(fields, group, number, things)
    except (*_WRONG, AttributeError):
        return [None] * number
    return [{**row, "event_type": group["event_type"]} for row in rows]


def _dicts(kind: type[Struct], columns: Any) -> Sequence[Any]:
    """Return a table's objects as mappings, behind None."""
    if columns is None:
        return (None,)
    fields = _FIELDS[kind.__name__]
    lengths = [_length(fields[name], columns[name]) for name in columns if name in fields]
    return [None, *_mappings(fields, columns, max(lengths, default=1), {})]


def _mappings(
    fields: Mapping[str, Field], columns: Any, number: int, things: _Things
) -> list[dict[str, Any]]:
    told = [name for name in columns if name in fields]
    if not told:
        return [{} for _ in range(number)]
    cells = [_cells(fields[name], columns[name], number, things) for name in told]
    return [dict(zip(told, row, strict=True)) for row in zip(*cells, strict=True)]

"""Packing: many events as one body, in columns, in which what repeats is told once.

A body is a msgpack array of two: what the events refer to, and the events.

- ``{"Database": TABLE, "Statement": TABLE, ...}``: the databases, statements, parents, places in
  the code, failures and LLM contexts that events of this body have.
- a list of ``TABLE``: all events of one type each, with their ``event_type``, and as ``at`` their
  places in the body, where there is more than one type.

A ``TABLE`` has a column for each field, under the field's name: a list of the values in their
order, or of one where all are equal. A field that has its default in all is left out. Three kinds
of columns are told otherwise:

- what has a table of its own is told by its number there, counted from one; 0: none.
- times are told as differences to the one before, ids as one string of bytes.
- trace ids, which several parents have in common, are told as such a string and numbers in it.

Each body says everything that its events say. A reader ignores columns and tables that it does not
know, and fills in the defaults of those that are missing: so a default must never change.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import compress
from operator import sub
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from otel_dbevents.bus.redis.fields import TABLES, TIMES, TRACE_ID, TRACE_ID_BYTES, Field, fields_of
from otel_dbevents.bus.redis.tables import Table, one_or_all
from otel_dbevents.bus.redis.undrafted import Column, columns_of
from otel_dbevents.codec import plain_value, tidied
from otel_dbevents.drafts import Alike, Draft, Part, Within
from otel_dbevents.events import (
    EVENT_TYPES,
    Database,
    Event,
    Statement,
    TraceParent,
)

Columns: TypeAlias = dict[str, Any]
_Group: TypeAlias = tuple[type[Event], Sequence[int], Sequence[Any]]
"""A type of events, where in the body such are, and these, or drafts of them."""
_Write: TypeAlias = "Callable[[Packer, Any], Any]"

_MADE_ONCE: Final = (Database, Statement)
"""What is one object for an engine or a statement's text."""
_MOST_ALONE: Final = 500
_alone: Final[dict[int, tuple[Struct, Columns]]] = {}
"""By identity: what was the only thing in its table, and what was written of it."""
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=plain_value)


def encode_columns(events: Sequence[Event | Draft]) -> bytes:
    """Return events as one body, for which plain drafts do as well: they are not made for it.

    Raises where one of them cannot be encoded: `TypeError`, `ValueError`, `OverflowError`.
    """
    return _encoded(Packer().pack(events))


def encode_part(part: Part) -> bytes:
    """Return the same of a part of a batch, whose items need not be looked at one by one."""
    return _encoded(Packer().pack_part(part))


def _encoded(body: Any) -> bytes:
    try:
        return _encoder.encode(body)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(body, builtin_types=(bytes, datetime), enc_hook=plain_value)
        return _encoder.encode(tidied(plain))


class Packer:
    """Puts the events of one body into columns."""

    def __init__(self) -> None:
        self._tables: dict[type[Struct], Table] = {}
        self._told: list[Table] = []
        """Those that have something in them, in the order in which it came."""
        self._columns: list[Any] = []
        """What was numbered: no other object may come to the place of one that is known by it."""

    def pack(self, events: Sequence[Event | Draft]) -> tuple[dict[str, Columns], list[Columns]]:
        """Return the body, as what msgspec encodes."""
        return self._pack(_parted(events))

    def pack_part(self, part: Part) -> tuple[dict[str, Columns], list[Columns]]:
        """Return the same of a part of a batch."""
        return self._pack(_groups_of(part))

    def _pack(self, parted: Sequence[_Group]) -> tuple[dict[str, Columns], list[Columns]]:
        groups: list[Columns] = []
        for kind, places, these in parted:
            kinds = {type(these[0])} if isinstance(these, Alike) else set(map(type, these))
            group = self._group(kind, kinds, these)
            if len(parted) > 1:
                group["at"] = places
            groups.append(group)
        return {table.kind.__name__: self._rows(table) for table in self._told}, groups

    def _rows(self, table: Table) -> Columns:
        if len(table.things) == 1 and table.kind in _MADE_ONCE:
            return self._alone(table)
        return self._columns_of(table)

    def _alone(self, table: Table) -> Columns:
        """Return a table of one thing, as it was when it was last the only one."""
        thing = table.things[0]
        known = _alone.get(id(thing))
        if known is None:
            if len(_alone) >= _MOST_ALONE:
                _alone.clear()
            known = _alone[id(thing)] = thing, self._columns_of(table)
        return known[1]

    def _columns_of(self, table: Table) -> Columns:
        values = zip(*table.rows, strict=True)
        return self._written(table.kind, zip(_WRITERS[table.kind], values, strict=True))

    def _group(
        self, kind: type[Event], kinds: set[type[Any]], events: Sequence[Event | Draft]
    ) -> Columns:
        columns = columns_of(kinds, events)
        self._columns.append(columns)
        return {"event_type": kind.__name__, **self._written(kind, columns.items())}

    def _written(self, kind: type[Struct], columns: Iterable[tuple[str, Column]]) -> Columns:
        found: Columns = {}
        writers = _WRITERS[kind]
        for name, values in columns:
            column = writers[name](self, values)
            if column is not None:
                found[name] = column
        return found

    def numbers(self, table: type[Struct], values: Any) -> Sequence[int]:
        """Return the values' numbers in their table; one where all are equal."""
        return self._table(table).numbers(values)

    def numbers_of(self, spans: Within) -> Sequence[int]:
        """Return the same of these parents."""
        return self._table(TraceParent).numbers_of(spans)

    def _table(self, kind: type[Struct]) -> Table:
        found = self._tables.get(kind)
        if found is None:
            found = self._tables[kind] = Table(kind, self._told)
        return found


def _parted(events: Sequence[Event | Draft]) -> list[_Group]:
    """Return events and drafts by the types of the events, with their places."""
    kinds = {type(events[0])} if isinstance(events, Alike) else set(map(type, events))
    of = {kind: _event_of(kind) for kind in kinds}
    if len({*of.values()}) == 1:
        return [(of[type(events[0])], (), events)]
    parted: dict[type[Event], list[int]] = {}
    for place, event in enumerate(events):
        parted.setdefault(of[type(event)], []).append(place)
    return [(kind, at, [events[place] for place in at]) for kind, at in parted.items()]


def _groups_of(part: Part) -> list[_Group]:
    """Return the same of what need not be looked at one by one."""
    found: list[_Group] = [
        (_event_of(each.kind), part.places[each.kind], each) for each in part.alike
    ]
    events = [event for event, _ in part.deliveries]
    kinds = dict.fromkeys(map(type, events))
    if any(kind in kinds for kind, _, _ in found):  # some as drafts, some as events
        return _parted([item[0] if type(item) is tuple else item for item in part.items])
    for kind in kinds:
        of = [type(event) is kind for event in events]
        found.append((kind, [*compress(part.places[tuple], of)], [*compress(events, of)]))
    return sorted(found, key=_first_place)


def _first_place(group: _Group) -> int:
    return group[1][0]


def _event_of(kind: Any) -> type[Event]:
    found: type[Event] = kind.kinds[0] if issubclass(kind, Draft) else kind
    return found


def _writer(field: Field) -> _Write:
    """Return what makes a field's column; None of it: all have the default."""
    if field.table is not None:
        return _by_number(field)
    if field.name in TIMES:
        return _differences
    if field.name == TRACE_ID:
        return _trace_ids
    if field.id_bytes:
        return _ids(field.id_bytes)
    return _values(field) if field.is_plain else _objects(field)


def _by_number(field: Field) -> _Write:
    table: Any = field.table
    is_left_out = field.default is None

    def write(packer: Packer, values: Any) -> Any:
        if isinstance(values, Within):
            return packer.numbers_of(values)
        is_default = is_left_out and values[0] is None and values.count(None) == len(values)
        return None if is_default else packer.numbers(table, values)

    return write


def _values(field: Field) -> _Write:
    default = field.default

    def write(_packer: Packer, values: Sequence[Any]) -> Any:
        first = values[0]
        if values[-1] != first or values.count(first) != len(values):
            return values
        return None if first == default and type(first) is type(default) else (first,)

    return write


def _objects(field: Field) -> _Write:
    default = field.default

    def write(_packer: Packer, values: Sequence[Any]) -> Any:
        return None if values.count(default) == len(values) else values

    return write


def _ids(size: int) -> _Write:
    def write(_packer: Packer, values: Any) -> Any:
        return values if isinstance(values, bytes) else _joined(values, size)

    return write


def _differences(_packer: Packer, values: Sequence[Any]) -> Any:
    return [values[0], *map(sub, values[1:], values)]


def _trace_ids(_packer: Packer, values: Sequence[Any]) -> Any:
    numbers: dict[bytes, int] = {}
    refs = [numbers.setdefault(value, len(numbers)) for value in values]
    return _joined(tuple(numbers), TRACE_ID_BYTES), one_or_all(refs)


def _joined(values: Sequence[bytes], size: int) -> bytes:
    if {*map(len, values)} != {size}:
        raise ValueError(f"an id has {size} bytes")
    return b"".join(values)


_WRITERS: Final = {
    kind: {field.name: _writer(field) for field in fields_of(kind)}
    for kind in (*EVENT_TYPES, *TABLES)
}

"""Fields: what events and the tables that they refer to have, and how a column of each is told."""

from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from otel_dbevents.events import (
    CodeLocation,
    Database,
    Failure,
    LlmContext,
    Statement,
    TraceParent,
)

TABLES: Final[tuple[type[Struct], ...]] = (
    Database,
    Statement,
    TraceParent,
    CodeLocation,
    Failure,
    LlmContext,
)
"""What events refer to. None of these refers to another."""
_ID_BYTES: Final = {"id": 16, "query_id": 16, "span_id": 8}
TIMES: Final = frozenset({"end_time_ns"})
TRACE_ID: Final = "trace_id"
TRACE_ID_BYTES: Final = 16


class Field(Struct, frozen=True):
    """A field, and how its column is told."""

    name: str
    hint: Any
    """Its type, with what a decoder checks of it."""
    default: Any
    """`NODEFAULT` where it has none."""
    is_optional: bool
    """Whether it may be None."""
    is_plain: bool
    """Whether equal values are the same: no mapping, in which 1 and True would be equal."""
    table: type[Struct] | None
    """Where its values are told; None: here."""
    id_bytes: int
    """How many bytes each of its ids has, which are told as one; 0: it has no such."""


def fields_of(kind: type[Struct]) -> list[Field]:
    """Return the fields of an event's type or a table's, in the order of the constructor."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        _field(each.name, hints[each.name], each.default) for each in msgspec.structs.fields(kind)
    ]


def _field(name: str, hint: Any, default: Any) -> Field:
    kinds = _alternatives(hint)
    table = next((each for each in kinds if each in TABLES), None)
    is_optional, is_plain = NoneType in kinds, not any(map(get_origin, kinds))
    id_bytes = 0 if is_optional else _ID_BYTES.get(name, 0)
    return Field(name, hint, default, is_optional, is_plain, table, id_bytes)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types that a value may have, without what a decoder checks beside."""
    if hasattr(hint, "__metadata__"):
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(each for one in get_args(hint) for each in _alternatives(one))
    return (hint,)

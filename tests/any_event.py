"""Hypothesis strategies for every event, drawn from the fields' types: new ones are included."""

from datetime import UTC, datetime
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from otel_dbevents.events import EVENT_TYPES, Event

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

INTEGERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FINITE = st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
"""What the hooks' attributes are: the source refuses the rest, as JSON would."""
WHOLE = {"connection_pool_size", "retry_count"}


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Events of one type, with every field drawn or left at its default."""
    return _structs(kind)


def any_event() -> st.SearchStrategy[Event]:
    """Events of every type."""
    return st.one_of(*map(events_of, EVENT_TYPES))


def _structs(kind: type[Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    drawn = {name: _values(hints[name], name) for name in kind.__struct_fields__}
    needed = set(drawn) - _with_default(kind)
    return st.fixed_dictionaries(
        {name: drawn[name] for name in sorted(needed)},
        optional={name: drawn[name] for name in sorted(set(drawn) - needed)},
    ).map(lambda given: kind(**given))


def _with_default(kind: type[Struct]) -> set[str]:
    from msgspec.structs import fields

    return {field.name for field in fields(kind) if not field.required}


def _values(hint: Any, name: str) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*(_values(one, name) for one in get_args(hint)))
    if getattr(hint, "__metadata__", None):
        return _limited(*get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(_values(get_args(hint)[0], name), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(TEXTS, FINITE if name == "attributes" else VALUES, max_size=3)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _structs(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        int: INTEGERS if name in WHOLE else INTEGERS | st.just(-1),
        str: TEXTS,
        bool: st.booleans(),
        float: st.floats(0, 1e12),
        datetime: MOMENTS,
        type(None): st.none(),
    }
    return plain[hint]


def _limited(kind: type, limits: Meta) -> st.SearchStrategy[Any]:
    if kind is bytes:
        return st.binary(min_size=limits.min_length or 0, max_size=limits.max_length)
    return st.integers(limits.ge, limits.le)

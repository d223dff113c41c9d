"""Which handlers there are: those that are named, and those that installed packages announce.

In: names (``module:function``) and the entry points of the group ``otel_dbevents.handlers``. Out:
`Handler`, a function with the types that it is for.
"""

import inspect
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import Any, Final, Union

import msgspec

from otel_dbevents.config import ConfigError
from otel_dbevents.events import Event

GROUP: Final = "otel_dbevents.handlers"
_FORM: Final = "a handler is named module:function, for example --handler shop.alerts:on_slow_query"


class Handler(msgspec.Struct, frozen=True):
    """A function, and the events that it is for."""

    name: str
    call: Callable[[Any], Any]
    types: tuple[type[Event], ...]
    """Empty: all."""


def find_handlers(names: Sequence[str]) -> list[Handler]:
    """Return those that are named, and those of the entry points that are installed.

    Raises `ConfigError` for one that cannot be had, whose types are none, or whose name another
    has.
    """
    found = [_named(name, name) for name in names]
    found += [_named(point.name, point.value) for point in _points()]
    twice = [name for name, number in Counter(each.name for each in found).items() if number > 1]
    if twice:
        raise ConfigError(f"two handlers have the name {twice[0]}: leave one out, or rename it")
    return found


def group_of(handler: Handler) -> str:
    """Return the name of a handler's group."""
    return f"handler:{handler.name}"


def _points() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


def _named(name: str, place: str) -> Handler:
    module, _, path = place.partition(":")
    if not module or not path:
        raise ConfigError(f"{place!r} names no handler: {_FORM}")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # noqa: BLE001 - what a module of anybody's raises
        is_plain = isinstance(error, ImportError | AttributeError)
        said = str(error) if is_plain else type(error).__name__
        raise ConfigError(f"the handler {place} cannot be imported ({said}): {_FORM}") from None
    if not callable(found):
        raise ConfigError(f"the handler {place} cannot be called: {_FORM}")
    return Handler(name, found, _types_of(found, place))


def _types_of(call: Any, place: str) -> tuple[type[Event], ...]:
    """Return the attribute ``types``, else what the first parameter's annotation says."""
    said = getattr(call, "types", None)
    if said is None:
        said = _annotated(call)
    types = tuple(said) if isinstance(said, tuple | list) else (said,)
    if any(each is Any or each is Event for each in types):
        return ()
    if not all(isinstance(each, type) and issubclass(each, Event) for each in types):
        raise ConfigError(
            f"the handler {place} does not say which events it takes: annotate its parameter, as "
            "in `def on_slow(event: SlowQueryDetected)`, or give it an attribute `types`"
        )
    return types


def _annotated(call: Any) -> Any:
    function = call if inspect.isroutine(call) or inspect.isclass(call) else call.__call__
    try:
        hints: Mapping[str, Any] = typing.get_type_hints(function)
        first = next(iter(inspect.signature(call).parameters))
    except Exception:  # noqa: BLE001 - no signature, or an annotation that names nothing
        return None
    found = hints.get(first, Any)
    if typing.get_origin(found) in (Union, UnionType):
        return typing.get_args(found)
    return found

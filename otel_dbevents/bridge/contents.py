"""Contents: what a span holds, made as the SDK makes it: bounded attributes, events and links."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.util import BoundedList

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.descriptions import Description
from otel_dbevents.bridge.view import View

_PLAIN: Final = frozenset({int, float, bool})


class Unfilled(BoundedList[Any]):
    """A list of the SDK's own kind with nothing in it, as nearly all of a query's are.

    Its parts are made when somebody wants to put something in.
    """

    dropped = 0

    def __init__(self, maxlen: int | None) -> None:
        self._most = maxlen

    def __getattr__(self, name: str) -> Any:
        if name == "_dq":
            return vars(self).setdefault(name, deque(maxlen=self._most))
        if name == "_lock":
            return vars(self).setdefault(name, threading.Lock())
        raise AttributeError(name)

    def __len__(self) -> int:
        return len(vars(self).get("_dq", ()))

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__() if "_dq" in vars(self) else iter(())


def bounded(said: Description, view: View) -> BoundedAttributes:
    """Return the attributes as a span holds them: cleaned, where they are not known to be clean."""
    longest, most, shared = view.longest, view.most, said.shared
    if (
        (longest is None or shared.longest <= longest)
        and (most is None or len(shared.attributes) + len(said.own) <= most)
        and (not said.own or _are_clean(said.own, longest))
    ):
        made = BoundedAttributes(most, None, False, longest)
        made._dict.update(shared.attributes)
        made._dict.update(said.own)
        return made
    return BoundedAttributes(most, said.attributes(), False, longest)


def _are_clean(attributes: dict[str, at.Value], longest: int | None) -> bool:
    """Whether the SDK would keep these as they are."""
    for key, value in attributes.items():
        if type(value) is str:
            if longest is not None and len(value) > longest:
                return False
        elif type(value) not in _PLAIN:
            return False
        if type(key) is not str or not key:
            return False
    return True

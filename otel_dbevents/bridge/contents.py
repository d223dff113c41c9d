"""Contents: what a span holds, made as the SDK makes it: bounded attributes, events and links."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import SpanContext, Status, StatusCode

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge.descriptions import Description
from otel_dbevents.bridge.view import View
from otel_dbevents.events import Failure

_PLAIN: Final = frozenset({int, float, bool})
_UNSET: Final = Status(StatusCode.UNSET)
_new: Final[Any] = object.__new__
_EMPTY: Final = vars(BoundedAttributes(immutable=False))
_HAS_CHOICE: Final = "_extended_attributes" in _EMPTY
_new_lock: Final[Any] = (
    threading.RLock if type(_EMPTY.get("_lock")) is type(threading.RLock()) else threading.Lock
)


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


def ended(
    event: Any,
    said: Description,
    held: BoundedAttributes,
    identity: SpanContext,
    parent: SpanContext | None,
    view: View,
    tracer: Any,
) -> ReadableSpan:
    """Return a span that has ended, without the call of its constructor and its lists'."""
    span: Any = _new(ReadableSpan)
    span.__dict__ = parts(event, said, held, identity, parent, view, tracer)
    return span  # type: ignore[no-any-return]


def parts(
    event: Any,
    said: Description,
    held: BoundedAttributes,
    identity: SpanContext,
    parent: SpanContext | None,
    view: View,
    tracer: Any,
) -> dict[str, Any]:
    """Return what such a span consists of."""
    events: Any = _new(Unfilled)
    events._most = view.most_events
    links: Any = _new(Unfilled)
    links._most = view.most_links
    end_ns = event.end_time_ns
    return {
        "_name": said.name,
        "_context": identity,
        "_kind": said.kind,
        "_instrumentation_info": tracer.instrumentation_info,
        "_instrumentation_scope": tracer._instrumentation_scope,
        "_parent": parent,
        "_start_time": end_ns - event.duration_ns,
        "_end_time": end_ns,
        "_attributes": held,
        "_events": events,
        "_links": links,
        "_resource": tracer.resource,
        "_status": _UNSET if said.failure is None else status_of(said.failure),
    }


def status_of(failure: Failure) -> Status:
    """Return the status of a span whose call failed."""
    return Status(StatusCode.ERROR, failure.description or None)


def bounded(said: Description, view: View) -> BoundedAttributes:
    """Return the attributes as a span holds them: cleaned, where they are not known to be clean."""
    longest, most, shared, own = view.longest, view.most, said.shared, said.own
    if (
        (longest is None or shared.longest <= longest)
        and (most is None or len(shared.attributes) + len(own) <= most)
        and (said.is_clean or not own or _are_clean(own, longest))
    ):
        held: Any = _new(BoundedAttributes)
        held._dict = found = {**shared.attributes}
        if own:
            found.update(own)
        held.maxlen = most
        held.dropped = 0
        held.max_value_len = longest
        held._lock = _new_lock()
        held._immutable = False
        if _HAS_CHOICE:
            held._extended_attributes = False
        return held  # type: ignore[no-any-return]
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

"""Late: the span of a plain query or of a new connection, without its parts until somebody looks.

Between a query and its span's export nobody does, as a rule; and our own exporter encodes it from
the event itself. Whoever looks at any part finds all of them: from then on it is the SDK's own
``ReadableSpan`` and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from msgspec import Struct
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge import contents
from otel_dbevents.bridge.descriptions import DESCRIBERS, Describe, Description, own_attributes
from otel_dbevents.bridge.pointing import Above, identity_of
from otel_dbevents.bridge.view import View
from otel_dbevents.events import Database, DatabaseConnectionEstablished, QueryExecuted
from otel_dbevents.swallowing import told

_PARTS: Final = frozenset(vars(ReadableSpan("")))
_CLIENT: Final[int] = SpanKind.CLIENT.value
_OWN: Final = 4
_describe_opened: Final = DESCRIBERS[DatabaseConnectionEstablished]
_UNTOLD: Final = Description("query", SpanKind.CLIENT, at.NOTHING_SHARED, {})


class Maker(Struct, frozen=True, gc=False):
    """Who makes the late spans of one tracer."""

    tracer: Any
    view: View
    freezes: bool
    describe: Describe


class Late(ReadableSpan):
    """A span that has ended. It is known by its event and what it has from above.

    Safe to be looked at by several threads: each that comes first makes the same parts.
    """

    is_plain: ClassVar = True
    """It says what a query says outside of LLM work, and nothing else."""

    __init__ = object.__init__
    _event: Any
    _above: Above

    @staticmethod
    def _describe(event: Any, by: Maker) -> Description:
        return by.describe(event)

    @staticmethod
    def _shared(event: QueryExecuted, by: Maker) -> tuple[str, int, Mapping[str, Any]] | None:
        """Return name, kind, and the attributes of all the statement's spans.

        None where the SDK would keep fewer of them, or shorter ones.
        """
        most, longest = by.view.most, by.view.longest
        name, shared = at.query_shared(event.database, event.statement, event.batch_size != 1)
        is_cut = longest is not None and shared.longest > longest
        if is_cut or (most is not None and len(shared.attributes) + _OWN > most):
            return None
        return name, _CLIENT, shared.attributes

    @staticmethod
    def _own(event: QueryExecuted) -> Mapping[str, Any]:
        """Return the attributes that only its span has, at most four."""
        return own_attributes(event)

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(name)
        self._become()
        return self.__dict__[name]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be copied as what it becomes."""
        self._become()
        return self.__reduce_ex__(protocol)

    def _become(self) -> None:
        known = self.__dict__
        event = known.get("_event")
        if event is not None:
            self.__dict__ = _parts(event, known["_above"], self._describe)
        self.__class__ = ReadableSpan  # type: ignore[assignment]


class Opened(Struct, frozen=True, gc=False):
    """A connection that was opened, as a call without a statement."""

    id: bytes
    database: Database
    end_time_ns: int
    duration_ns: int
    event: DatabaseConnectionEstablished
    statement: ClassVar = None
    batch_size: ClassVar = 1


class LateOpening(Late):
    """The span of a connection that was opened; `Opened` stands for its event."""

    __init__ = object.__init__

    @staticmethod
    def _describe(event: Any, _by: Maker) -> Description:
        return _describe_opened(event.event)

    @staticmethod
    def _shared(event: Any, by: Maker) -> tuple[str, int, Mapping[str, Any]] | None:
        """Return name, kind and attributes, as above."""
        said, most, longest = _describe_opened(event.event), by.view.most, by.view.longest
        if longest is not None or (most is not None and len(said.own) > most):
            return None
        return said.name, said.kind.value, said.own

    @staticmethod
    def _own(_event: Any) -> Mapping[str, Any]:
        """Return nothing: what a connection's span says, all of its database's say."""
        return at.NOTHING_SHARED.attributes


def _parts(
    event: Any, above: Above, describe: Callable[[Any, Maker], Description]
) -> dict[str, Any]:
    by: Maker = above.by
    try:
        said = describe(event, by)
        held = contents.bounded(said, by.view)
    except Exception as error:  # noqa: BLE001 - who looks may be an exporter, with others' spans
        told("late span", error)
        said, held = _UNTOLD, contents.bounded(_UNTOLD, by.view)
    if by.freezes:
        held._immutable = True
    identity = identity_of(event.id, above)
    return contents.parts(event, said, held, identity, above.parent, by.view, by.tracer)

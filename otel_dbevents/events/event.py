"""What every event has, and what every fact that a source makes has beside it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct, field, to_builtins

from otel_dbevents.events.ids import Id, new_id
from otel_dbevents.events.kinds import Environment
from otel_dbevents.events.values import Database, LlmContext, TraceParent

TimeNs: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Event(Struct, frozen=True, gc=False, tag_field="event_type", tag=True, kw_only=True):
    """What every event has. Not made itself."""

    about: ClassVar[frozenset[str]] = frozenset({"id", "parent", "timestamp", "end_time_ns"})
    """The fields that are not payload."""

    id: Id = field(default_factory=new_id)
    database: Database | None = None
    parent: TraceParent | None = None
    llm: LlmContext | None = None
    """None outside LLM traces."""

    @property
    def event_id(self) -> UUID:
        """The event's identity. Its last 8 bytes are the id of the span made of it."""
        return UUID(bytes=self.id)

    @property
    def event_type(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def aggregate_id(self) -> str:
        """Environment and database, the same for the same database in every process."""
        if self.database is not None:
            return self.database.aggregate_id
        return Environment.LOCAL.value

    @property
    def occurred_at(self) -> datetime:
        """When the fact was complete, UTC; microseconds are the finest a datetime can hold."""
        return EPOCH + timedelta(0, 0, self.time_ns // 1_000)

    @property
    def time_ns(self) -> int:
        """When the fact was complete, in nanoseconds since the Unix epoch."""
        raise TypeError(f"{type(self).__name__} has no time")  # pragma: no cover - abstract

    @property
    def payload(self) -> dict[str, Any]:
        """What is particular to this event, as plain values. Empty values are left out."""
        plain: dict[str, Any] = to_builtins(self, builtin_types=(bytes,))
        absent: tuple[object, ...] = (None, "", {}, [])
        return {
            name: _plain(value)
            for name, value in plain.items()
            if name not in self.about and name != "event_type" and value not in absent
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain values that ``json.dumps`` takes."""
        found: dict[str, Any] = {
            "event_id": str(self.event_id),
            "event_type": self.event_type,
            "aggregate_id": self.aggregate_id,
            "timestamp": self.occurred_at.isoformat(),
            "payload": self.payload,
        }
        if self.parent is not None:
            found["traceparent"] = str(self.parent)
        return found


class Fact(Event, frozen=True, gc=False):
    """A fact of the wire, made by a source. ``database`` is the one it happened on."""

    database: Database
    parent: TraceParent | None
    end_time_ns: TimeNs

    @property
    def time_ns(self) -> int:
        """When the fact was complete."""
        return self.end_time_ns

    @property
    def timestamp(self) -> datetime:
        """When the fact was complete, UTC."""
        return self.occurred_at


def _plain(value: Any) -> Any:
    """Return bytes as hexadecimal digits, at any depth."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

"""What events share: the database, the statement, the span around it, the failure.

Most are made once, per engine or per statement text, and are part of many events.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from otel_dbevents.events.ids import Id, SpanId
from otel_dbevents.events.kinds import DatabaseType, Environment

Flags: TypeAlias = Annotated[int, Meta(ge=0, le=255)]


class TraceParent(Struct, frozen=True, gc=False):
    """The span that was current when something happened (W3C Trace Context).

    ``trace_id`` has 16 bytes, ``span_id`` 8, ``trace_flags`` is 1 when the trace is sampled.
    """

    trace_id: Id
    span_id: SpanId
    trace_flags: Flags = 1
    trace_state: str = ""

    def __str__(self) -> str:
        """Return the ``traceparent`` header's value."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{self.trace_flags:02x}"


class Database(Struct, frozen=True, gc=False):
    """One database as the application reaches it. Made once per engine and shared by its events.

    ``namespace`` is the database's name at connect time; of an SQLite file it is the file's name
    without its folder, since paths tell user names. ``pool_name`` is unique in the application.
    """

    environment: Environment
    system_name: DatabaseType
    namespace: str = ""
    server_address: str = ""
    server_port: int = 0
    pool_name: str = ""
    location: str = ""
    """What tells two databases of one name apart where there is no server: a digest of a path."""

    @property
    def aggregate_id(self) -> str:
        """Return the database's name in the event stream, equal in every process.

        MariaDB is ``mysql`` there: only a process that has been connected knows them apart.
        """
        known, name = _latest
        return name if known is self else self._named()

    def _named(self) -> str:
        global _latest  # most events are of one database, and its name is asked for again and again
        is_mariadb = self.system_name is DatabaseType.MARIADB
        system = DatabaseType.MYSQL if is_mariadb else self.system_name
        parts = [self.environment.value, system.value]
        if self.server_address:
            port = f":{self.server_port}" if self.server_port else ""
            parts.append(self.server_address.lower() + port)
        if self.namespace:
            parts.append(self.namespace + (f"#{self.location}" if self.location else ""))
        name = "/".join(parts)
        _latest = self, name
        return name


_latest: tuple[Database | None, str] = (None, "")


class Statement(Struct, frozen=True, gc=False):
    """What an SQL statement says. Made once per statement text and shared by its events.

    ``query_text`` has no literals. ``operation_name`` and ``collection_name`` are empty unless
    SQLAlchemy's statement tree has exactly one of each (they must not come from the text).
    ``stored_procedure_name`` is the one procedure that a CALL or EXEC names, as it is written;
    empty when the text does anything else too.
    """

    query_text: str
    query_summary: str = ""
    operation_name: str = ""
    collection_name: str = ""
    writes: bool = True
    stored_procedure_name: str = ""


class CodeLocation(Struct, frozen=True, gc=False):
    """A place in the application's own code, as far as it may be told: no folder above it.

    ``file_path`` is relative to the folder that Python imported it from or runs in, with ``/``.
    """

    file_path: str
    line_number: int
    function_name: str = ""


class Failure(Struct, frozen=True, gc=False):
    """Why something failed, without any value in it.

    ``error_type`` is the status code where the driver gave one, else the exception's qualified
    name; ``description`` is made of fixed words, never of the driver's message.
    """

    error_type: str
    exception_type: str
    description: str = ""
    status_code: str = ""
    is_disconnect: bool = False
    message: str = ""
    """The driver's own message; empty unless the user asked for it."""


class LlmContext(Struct, frozen=True, gc=False):
    """The part of an LLM trace that something happened in: which generation caused it.

    The generation is the one that was open, else the latest that had ended under the nearest span
    that both have in common: the model asks for a tool, ends, and the tool runs the SQL.
    ``generation_id`` is its span's id; None where there was none yet. The prompt and the session
    are those of that generation, empty unless the user asked for them. ``environment`` is what
    Langfuse files the LLM's spans under, empty where they do not say it.
    """

    generation_id: SpanId | None = None
    generation_name: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    session_id: str = ""
    environment: str = ""


class PoolReading(Struct, frozen=True, gc=False):
    """A pool's numbers at one moment, read from SQLAlchemy's records. -1: has no such limit.

    ``idle`` and ``used`` count open connections, also those that outlive ``dispose()``.
    """

    database: Database
    idle: int
    used: int
    pending: int
    max: int = -1
    idle_max: int = -1
    idle_min: int = -1


class Holder(Struct, frozen=True, gc=False):
    """Who holds one of an exhausted pool's connections: its span and line, and since when.

    ``held_ns`` counts from when we began to listen, where the connection was out before: then
    nobody knows whose it is.
    """

    parent: TraceParent | None
    held_ns: int
    called_from: CodeLocation | None = None

"""What is done around the driver's call, where somebody asked for it; mostly nobody does.

Three things, all of which need to know of the call before it is made: the application's hooks, the
comment in the SQL, and a driver that is instrumented by itself.

With a driver's own instrumentor at work each query would have two spans side by side. So the
driver's call is made in a context that asks instrumentations to be silent, which those that are
built on OpenTelemetry's ``dbapi`` are; and its current span is the one that will be made of our
event, so that what others tell all the same (asyncpg's BEGIN and COMMIT) lies below it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.propagators.textmap import TextMapPropagator

from otel_dbevents.events import new_id, span_id_of, trace_id_of
from otel_dbevents.sources.caller import SUPPRESS, suppressed
from otel_dbevents.sources.comment import commented
from otel_dbevents.sources.guarding import guard

Attributes: TypeAlias = Mapping[str, Any]
RequestHook: TypeAlias = Callable[[Any, str, Any], Attributes | None]
"""Called before the driver with SQLAlchemy's execution context, the SQL and the parameters."""
ResponseHook: TypeAlias = Callable[[Any, Any, BaseException | None], Attributes | None]
"""Called after the driver with the execution context, the cursor, and the error if it raised."""

_INSTRUMENTORS: Final[Mapping[str, tuple[str, str]]] = {
    "psycopg": ("psycopg", "PsycopgInstrumentor"),
    "psycopg_async": ("psycopg", "PsycopgInstrumentor"),
    "psycopg2": ("psycopg2", "Psycopg2Instrumentor"),
    "asyncpg": ("asyncpg", "AsyncPGInstrumentor"),
    "pysqlite": ("sqlite3", "SQLite3Instrumentor"),
    "aiosqlite": ("sqlite3", "SQLite3Instrumentor"),
    "pymysql": ("pymysql", "PyMySQLInstrumentor"),
    "aiomysql": ("aiomysql", "AioMySQLInstrumentor"),
    "mysqldb": ("mysqlclient", "MySQLClientInstrumentor"),
    "mysqlconnector": ("mysql", "MySQLInstrumentor"),
}
"""``dialect.driver`` to the module below ``opentelemetry.instrumentation`` and its class."""


_in_hook: Final[ContextVar[bool]] = ContextVar("otel_dbevents_in_hook", default=False)
"""Whether a hook is running: what it does itself with a database is told, and no hook is asked."""


class Wishes(NamedTuple):
    """What is to be done around each call of the driver."""

    propagator: TextMapPropagator | None = None
    """Writes what the comment carries; None: there is no comment."""
    request_hook: RequestHook | None = None
    response_hook: ResponseHook | None = None
    own_ids: Callable[[], bool] = bool
    """Whether a span will have the ids of its event; else the comment names the span above it."""


class Call:
    """One call of the driver: its SQL, the event's id, and what the hooks gave."""

    __slots__ = ("attributes", "id", "sql", "token")

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.id = b""
        self.attributes: dict[str, Any] | None = None
        self.token: Any = None

    def add(self, given: Attributes | None) -> None:
        """Take a hook's attributes; one of a kind that no span holds is refused.

        Raises `TypeError` for what is no mapping of names to plain values.
        """
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise TypeError(f"a hook returns a mapping or None, not {type(given).__name__}")
        self.attributes = self.attributes or {}
        for name, value in given.items():
            if not isinstance(name, str) or not _is_value(value):
                raise TypeError(
                    f"a hook's attribute {name!r} takes text, a boolean, a finite number or a"
                    f" list of those; got a {type(value).__name__}"
                )
            self.attributes[name] = value


class Around:
    """Does what was wished for around each call of one engine's driver. Never raises."""

    def __init__(self, wishes: Wishes, paramstyle: str, driver: str) -> None:
        self._wishes = wishes
        self._paramstyle = paramstyle
        self._instrumentor = instrumentor_of(driver)
        self._asked = bool(wishes.propagator or wishes.request_hook or wishes.response_hook)
        self.module = self._instrumentor[0]
        """Of the driver's instrumentor; empty where it has none."""
        self.nested = False
        """Whether the driver is instrumented by itself."""

    def if_needed(self) -> "Around | None":
        """Look whether the driver is instrumented now; return this if there is anything to do."""
        self.nested = is_at_work(self._instrumentor)
        return self if self.nested or self._asked else None

    def enter(self, sql: str, parameters: Any, execution: Any) -> Call:
        """Prepare a call. ``parameters`` is None when the driver takes the text as it is."""
        call = Call(sql)
        try:
            caller = otel_context.get_current()
            if suppressed(caller):
                return call
            if self._wishes.request_hook is not None:
                call.add(self._hooked(self._wishes.request_hook, execution, sql, parameters))
            propagator = self._wishes.propagator
            if propagator is None and not self.nested:
                return call
            call.id = new_id()
            inner = trace.set_span_in_context(self._span(call.id, caller), caller)
            if propagator is not None:
                carried: dict[str, str] = {}
                propagator.inject(carried, inner)
                style = "" if parameters is None else self._paramstyle
                call.sql = commented(sql, carried, style)
            if self.nested:
                call.token = otel_context.attach(silenced(inner))
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)
        return call

    def leave(self, call: Call, execution: Any, cursor: Any, error: BaseException | None) -> None:
        """End a call."""
        try:
            self.ended(call)
            hook = self._wishes.response_hook
            if hook is not None and not suppressed(otel_context.get_current()):
                call.add(self._hooked(hook, execution, cursor, error))
        except Exception as own:  # noqa: BLE001 - the application must not see it
            guard.caught(own)

    def ending(self) -> Call | None:
        """Prepare the driver's COMMIT or ROLLBACK; None where there is nothing to do."""
        if not self.nested:
            return None
        call = Call("")
        try:
            caller = otel_context.get_current()
            call.id = new_id()
            inner = trace.set_span_in_context(self._span(call.id, caller), caller)
            call.token = otel_context.attach(silenced(inner))
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)
        return call

    @staticmethod
    def ended(call: Call | None) -> None:
        """End what `ending`, or `enter`, prepared. Twice is harmless."""
        try:
            if call is not None and call.token is not None:
                token, call.token = call.token, None
                otel_context.detach(token)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def _span(self, event_id: bytes, caller: Any) -> trace.Span:
        """Return what stands for the span that will be made of the event."""
        parent = trace.get_current_span(caller)
        above = parent.get_span_context()
        if not self._wishes.own_ids():
            return parent
        return trace.NonRecordingSpan(
            trace.SpanContext(
                above.trace_id if above.is_valid else trace_id_of(event_id),
                span_id_of(event_id),
                is_remote=False,
                # a root span's sampler is asked later: most keep it
                trace_flags=above.trace_flags if above.is_valid else trace.TraceFlags(1),
                trace_state=above.trace_state,
            )
        )

    @staticmethod
    def _hooked(hook: Callable[..., Any], *arguments: Any) -> Any:
        """Call a hook of the application's, but not for what it does itself with a database."""
        if _in_hook.get():
            return None
        token = _in_hook.set(True)
        try:
            return hook(*arguments)
        except Exception as error:  # noqa: BLE001 - a hook's fault is no fault of the query
            guard.caught(error)
            return None
        finally:
            _in_hook.reset(token)


def instrumentor_of(driver: str) -> tuple[str, str]:
    """Return the full name of the driver's instrumentor's module, and its class; else two empty."""
    module, name = _INSTRUMENTORS.get(driver, ("", ""))
    return (f"opentelemetry.instrumentation.{module}", name) if module else ("", "")


def is_at_work(instrumentor: tuple[str, str]) -> bool:
    """Whether an OpenTelemetry instrumentor of the driver's own is at work.

    Mostly it was not even imported. One that was only given single connections is not seen.
    """
    module, name = instrumentor
    loaded = sys.modules.get(module)
    if loaded is None:
        return False
    # Its one instance, not a call of the class: that would set the instance up anew.
    instance = getattr(getattr(loaded, name, None), "_instance", None)
    return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))


def silenced(context: Any) -> Any:
    """Return a context in which instrumentations are silent."""
    for key in {SUPPRESS, "suppress_instrumentation"}:
        context = otel_context.set_value(key, True, context)
    return context


def _is_value(value: Any) -> bool:
    if isinstance(value, str | bool | int | float):
        return _is_plain(value)
    return (
        isinstance(value, Sequence) and not isinstance(value, bytes) and all(map(_is_plain, value))
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value))

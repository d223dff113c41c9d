"""Executing: the driver's call of a statement, and what is done before and after it."""

from collections.abc import Callable
from time import time_ns
from typing import Any, TypeAlias

from sqlalchemy.engine.default import DefaultDialect

from otel_dbevents.sources.around import Around, Call
from otel_dbevents.sources.watch import Watch

Told: TypeAlias = Callable[[int, int, Any, str, Any, Any, Call | None], None]
"""Takes start and end (ns), the cursor, the SQL, the execution context, the batch, the call."""
Failed: TypeAlias = Callable[[BaseException, int, int, str, Any, Any, Call | None], None]
"""Takes the driver's error, start and end (ns), the SQL, the execution context, the batch, the
call."""


def executing(
    watch: Watch, driver_call: Callable[..., Any], told: Told, failed: Failed, *, many: bool = False
) -> Callable[..., Any]:
    """Return what calls the driver in a dialect's stead, and tells how that went.

    ``many``: the parameters are of many rows. Start and end are taken in one frame around the
    driver's call, whose exception is seen as the driver raised it.
    """
    surrounded = _surrounded(watch, driver_call, told, failed, many=many)
    is_plain = not many and calls_the_cursor(driver_call)

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if watch.around is not None:
            surrounded(cursor, statement, parameters, context)
            return
        start = time_ns()
        try:
            if is_plain:
                cursor.execute(statement, parameters)
            else:
                driver_call(cursor, statement, parameters, context)
        except BaseException as error:
            end = time_ns()
            if watch.active:
                batch = parameters if many else None
                failed(error, start, end, statement, context, batch, None)
            raise
        end = time_ns()
        if watch.active:
            told(start, end, cursor, statement, context, parameters if many else None, None)

    return do_execute


def _surrounded(
    watch: Watch, driver_call: Callable[..., Any], told: Told, failed: Failed, *, many: bool
) -> Callable[..., Any]:
    """Return the same for when something is to be done around the driver's call."""

    def do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        around, call, sql = watch.around, None, statement
        try:
            if around is not None and watch.active:
                call = around.enter(statement, parameters, context)
                sql = call.sql
            start = time_ns()
            try:
                driver_call(cursor, sql, parameters, context)
            except BaseException as error:
                end = time_ns()
                if around is not None and call is not None:
                    around.leave(call, context, cursor, error)
                if watch.active:
                    batch = parameters if many else None
                    failed(error, start, end, statement, context, batch, call)
                raise
            end = time_ns()
            if around is not None and call is not None:
                around.leave(call, context, cursor, None)
            if watch.active:
                told(start, end, cursor, statement, context, parameters if many else None, call)
        finally:  # Ctrl-C may come anywhere: the caller's context is its own again
            if call is not None and call.token is not None:
                Around.ended(call)

    return do_execute


def calls_the_cursor(method: Any) -> bool:
    """Whether a dialect's method is SQLAlchemy's own, which calls ``cursor.execute`` and no more.

    Then that is called without it.
    """
    function = getattr(method, "__func__", None)
    return function is DefaultDialect.do_execute and function.__code__.co_names == ("execute",)

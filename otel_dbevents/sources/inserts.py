"""INSERTs that SQLAlchemy sends in several calls ("insertmanyvalues"): each is one operation."""

from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any, Final

from otel_dbevents.events import QueryExecuted
from otel_dbevents.sources.around import Call
from otel_dbevents.sources.beside import remarks_on
from otel_dbevents.sources.caller import current_context, parent_of, suppressed
from otel_dbevents.sources.connection import note, state_in
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.statement import Statements
from otel_dbevents.sources.watch import Watch, enter

BATCHES: Final = "_otel_dbevents_batches"
"""Where an execution context keeps the batches that it is sent in."""


class InsertSource:
    """Makes one `QueryExecuted` of all the batches that an INSERT is sent in.

    ``failed`` tells of one whose rows could not be fetched; what else fails is the single call's.
    """

    def __init__(self, watch: Watch, statements: Statements, failed: Callable[..., None]) -> None:
        self._watch = watch
        self._statements = statements
        self._failed = failed

    def deliver(self, deliver: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Tell of an INSERT that is sent in batches once, when the last of them was sent."""

        def batches(*arguments: Any) -> Iterator[Any]:
            context, sent = arguments[-1], Batches()
            sent.begin(context)
            try:
                for batch in deliver(*arguments):
                    sent.follow(batch)
                    yield batch
            except GeneratorExit:  # left by SQLAlchemy, and closed when it is collected
                sent.in_call = False
                raise
            except Exception as error:
                # The rows that a batch returned could not be fetched or matched.
                if sent.sql and not sent.told and self._watch.active:
                    self._failed(error, sent.start, time_ns(), sent.sql, context, None, sent.call)
                raise
            finally:
                sent.end_in(context)
                if sent.sql and not sent.told and self._watch.active:
                    self._sent(sent, context)

        return batches

    def _sent(self, sent: "Batches", context: Any) -> None:
        try:
            watch, caller = self._watch, current_context()
            state = state_in(watch, context)
            if state is None or suppressed(caller):
                return
            known = self._statements.find(sent.sql, context)
            note(state, sent.start, True, context)
            parent, duration = parent_of(caller), max(0, sent.end - sent.start)
            repeats = watch.is_repeated(watch.runs_under(caller), known.statement)
            remarks = remarks_on(watch, repeats, duration, context, sent.call)
            returned = context._insertmanyvalues_rows
            event = QueryExecuted(
                watch.database,
                parent,
                sent.end,
                duration,
                known.statement,
                sent.rows,
                -1 if returned is None else len(returned),
            )
            told = remarks.on(event)
            enter(watch, told, caller)
            (watch.publish if sent.in_call else watch.from_finalizer)(told, caller)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            (guard.caught if sent.in_call else guard.noted)(error)


class Batches:
    """The calls of the driver that one INSERT is sent in."""

    __slots__ = ("asked", "call", "end", "in_call", "next_rows", "rows", "sql", "start", "told")

    def __init__(self) -> None:
        self.asked = 0
        """How many rows the application gave."""
        self.rows = self.next_rows = 0
        """How many were sent, and how many go with the next call."""
        self.start = self.end = 0
        self.sql = ""
        self.call: Call | None = None
        self.told = False
        self.in_call = True
        """Whether the application is in a call that has to do with it; else a finalizer runs."""

    def begin(self, context: Any) -> None:
        """Have the calls that this execution context makes come here. Never raises."""
        try:
            self.asked = len(context.compiled_parameters)
            context.__dict__[BATCHES] = self
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def follow(self, batch: Any) -> None:
        """Take note of the batch that is sent next. Never raises."""
        try:
            self.next_rows = len(batch.batch)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    @staticmethod
    def end_in(context: Any) -> None:
        """Have no more calls come here. Never raises."""
        try:
            context.__dict__.pop(BATCHES, None)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def add(self, start: int, end: int, sql: str, call: Call | None) -> None:
        """Take note of a call that went well."""
        self.start = self.start or start
        self.end = end
        self.rows += self.next_rows
        self.sql = self.sql or sql
        self.call = self.call or call

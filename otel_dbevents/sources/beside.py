"""What is said of a few queries besides what is said of each: where one came from, and why."""

from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from otel_dbevents.events import CodeLocation, LlmContext, QueryExecuted, QueryFailed, Statement
from otel_dbevents.sources.advice import advise
from otel_dbevents.sources.around import Call
from otel_dbevents.sources.caller import parent_of
from otel_dbevents.sources.explain.question import Question, question_of
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.handing import Ledger
from otel_dbevents.sources.location import here
from otel_dbevents.sources.watch import Watch

_Query = TypeVar("_Query", QueryExecuted, QueryFailed)

_NOTHING_SAID: Final = (None, "", None)


class Remarks(NamedTuple):
    """What is to be said of a query besides what every query says."""

    said: tuple[CodeLocation | None, str, dict[str, Any] | None] = _NOTHING_SAID
    """An event's ``called_from``, ``advice`` and ``attributes``."""
    id: bytes = b""
    """The event's id, where it was needed before there was an event."""
    question: Question | None = None
    """What a slow query's plan is asked for with, where anybody wants it."""

    def on(self, event: _Query) -> _Query:
        """Return the event with what is to be said of it."""
        if self.said == _NOTHING_SAID and not self.id:
            return event
        place, advice, attributes = self.said
        said: dict[str, Any] = {"called_from": place, "advice": advice, "attributes": attributes}
        if not self.id:
            return replace(event, **said)
        if isinstance(event, QueryExecuted):
            said["propagated"] = True
        return replace(event, id=self.id, **said)

    def tell(
        self,
        watch: Watch,
        event: QueryExecuted,
        context: Any,
        ledger: Ledger | None,
        cause: LlmContext | None = None,
        *,
        in_call: bool = True,
    ) -> None:
        """Publish the event with what is to be said of it, and have it explained after that."""
        told = event if self is NOTHING else self.on(event)
        if ledger is not None:
            ledger.enter(told, cause)
        (watch.publish if in_call else watch.from_finalizer)(told, context)
        if self.question is None:
            return
        offer = watch.explainer.offer if in_call else watch.explainer.leave
        offer(watch, told, self.question, context)


NOTHING = Remarks()


class Beside(Struct, eq=False):
    """What a few readings have besides what each has."""

    batch_size: int = 1
    remarks: Remarks = NOTHING
    first_row_ns: int = -1
    """Time until the first rows of a stream were there."""
    unread: int = -1
    """How many rows were read where none went through here: another strategy may stand in our
    place, then nobody knows."""
    ledger: Ledger | None = None
    cause: LlmContext | None = None
    """The generation that caused the query, where there is a ledger."""

    def tell(
        self,
        watch: Watch,
        caller: Any,
        statement: Statement,
        end_ns: int,
        duration_ns: int,
        affected: int,
    ) -> None:
        """Publish the query's event, where nothing is to be read any more."""
        event = QueryExecuted(
            watch.database,
            parent_of(caller),
            end_ns,
            duration_ns,
            statement,
            self.batch_size,
            -1,
            affected,
        )
        self.remarks.tell(watch, event, caller, self.ledger)


NOTHING_BESIDE: Final = Beside()


def beside_of(
    watch: Watch,
    context: Any,
    sql: str,
    call: Call | None,
    repeats: bool,
    duration_ns: int,
    batch: Any,
    ledger: Ledger | None,
) -> Beside:
    """Return what is to be said of a query besides: of many rows, of LLM work, slow, repeated."""
    beside = Beside(1 if batch is None else len(batch))
    if repeats or call is not None or duration_ns >= watch.slow_ns:
        beside.remarks = remarks_on(watch, repeats, duration_ns, context, call, sql)
    if ledger is not None:
        beside.ledger, beside.cause = ledger, ledger.cause()
    return beside


def remarks_on(
    watch: Watch, repeats: bool, duration_ns: int, context: Any, call: Call | None, sql: str = ""
) -> Remarks:
    """Return what is to be said beside: where a slow or often repeated query came from.

    With the driver's ``sql`` it is also kept what a slow query's plan is asked for with.
    """
    try:
        slow = duration_ns >= watch.slow_ns
        place = here() if repeats or slow else None
        advice = advise(context) if repeats else ""
        given, event_id = (None, b"") if call is None else (call.attributes, call.id)
        question = question_of(context, sql) if slow and sql and watch.explainer else None
        return Remarks((place, advice, given), event_id, question)
    except Exception as error:  # noqa: BLE001 - the query is told without
        guard.caught(error)
        return NOTHING

"""A domain event as one line of the terminal."""

from rich.text import Text

from otel_dbevents import events as ev
from otel_dbevents.demo.trace_panel import in_ms

FLOODS = (
    ev.QueryExecuted,
    ev.ConnectionCheckedOut,
    ev.ConnectionCheckedIn,
    ev.ConnectionClosed,
    ev.TransactionReleased,
)
"""Events that come with every query: counted, not printed."""
_ALARMING = (
    ev.DatabaseConnectionFailed,
    ev.CommitFailed,
    ev.RollbackFailed,
    ev.QueryFailed,
    ev.CheckoutTimedOut,
)
_HEALTH = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}
_WORTH_A_LOOK = (
    ev.SlowQueryDetected,
    ev.RepeatedQueryDetected,
    ev.TransactionRolledBack,
    ev.ConnectionInvalidated,
)


def event_line(event: ev.Event) -> Text:
    """Return when it happened, what, where, and what one would want to know of it."""
    time = event.occurred_at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    where = event.database.namespace if event.database else ""
    return Text.assemble(
        (f"  {time}  ", "dim"),
        (f"{event.event_type:<31}", _style(event)),
        f"{where:<12}",
        _particulars(event),
    )


def advice(event: ev.Event) -> Text | None:
    """Return where in the application an event came from and what would mend it, if it says so."""
    if not isinstance(event, ev.RepeatedQueryDetected) or event.called_from is None:
        return None
    place = event.called_from
    mend = f"  {event.advice}" if event.advice else ""
    return Text.assemble((f"{place.file_path}:{place.line_number}", "cyan"), (mend, "dim"))


def _style(event: ev.Event) -> str:
    if isinstance(event, ev.DatabaseHealthCheckCompleted):
        return _HEALTH[event.status]
    if isinstance(event, _ALARMING):
        return "red"
    return "yellow" if isinstance(event, _WORTH_A_LOOK) else "green"


def _particulars(event: ev.Event) -> str:
    """Return what one would want to know of an event, in a few words."""
    match event:
        case ev.QueryFailed():
            kind = event.failure.error_type.rpartition(".")[2]
            return f"{kind}, {event.statement.query_summary}"
        case ev.CommitFailed() | ev.RollbackFailed():
            return f"{event.failure.error_type}, {_statements(event.statement_count)}"
        case ev.TransactionCommitted() | ev.TransactionRolledBack():
            return f"{_statements(event.statement_count)} in {in_ms(event.transaction_ns)}"
        case ev.CheckoutTimedOut():
            return f"{in_ms(event.duration_ns)}, {event.used} of {event.max} connections used"
        case ev.SlowQueryDetected():
            return f"{in_ms(event.duration_ns)}, {event.statement.query_summary}"
        case ev.RepeatedQueryDetected():
            summary, took = event.statement.query_summary, in_ms(event.duration_ns)
            return f"{summary} \N{MULTIPLICATION SIGN} {event.count}, {took}"
        case ev.DatabaseRecovered():
            return f"after {event.failed_attempts} refused attempts, {in_ms(event.duration_ns)}"
        case ev.DatabaseConnectionEstablished():
            return in_ms(event.duration_ns)
        case ev.DatabaseConnectionFailed():
            kind = event.error_message.rpartition(": ")[2]
            if event.failure is not None and event.failure.status_code:
                kind = event.failure.status_code
            return f"{kind}, retry {event.retry_count}" if event.retry_count else kind
        case ev.DatabaseHealthCheckCompleted():
            said = str((event.details or {}).get("error.text", "")).rpartition(": ")[2]
            return f"{event.status}, {said or in_ms(int(event.latency_ms * 1e6))}"
        case ev.ConnectionInvalidated():
            return "the pool throws it away"
    return ""


def _statements(count: int) -> str:
    return f"{count} statement{'' if count == 1 else 's'}"

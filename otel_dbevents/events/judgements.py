"""What a judge concludes from the facts. None of them was seen by a listener."""

from otel_dbevents.events.event import Fact
from otel_dbevents.events.ids import Id
from otel_dbevents.events.values import CodeLocation, Statement


class SlowQueryDetected(Fact, frozen=True, gc=False):
    """A judgement: a query took at least the threshold, in the driver's call and in its fetches.

    ``query_id`` is the query event's id.
    """

    duration_ns: int
    threshold_ns: int
    statement: Statement
    query_id: Id
    called_from: CodeLocation | None = None


class RepeatedQueryDetected(Fact, frozen=True, gc=False):
    """A judgement: one statement ran many times under one span (the N+1 pattern).

    Fires once per burst, when it has ended. ``duration_ns`` is the sum of the queries' times.
    ``called_from`` is the application's line that ran one of them, ``advice`` what would mend it.
    """

    duration_ns: int
    count: int
    statement: Statement
    called_from: CodeLocation | None = None
    advice: str = ""


class DatabaseRecovered(Fact, frozen=True, gc=False):
    """A judgement: a database that had refused connections gave one again."""

    duration_ns: int
    failed_attempts: int

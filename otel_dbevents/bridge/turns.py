"""Turns: what the database does for LLM work, as numbers that can be added up over many turns.

They have no attributes: what they could be told by (prompts, sessions, users) is without bounds.
The trace that an exemplar leads to has all that.
"""

from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.util.types import AttributeValue

_TURN_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_DATABASE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
_QUERY_BUCKETS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_NONE: Final[dict[str, AttributeValue]] = {}


class TurnNumbers:
    """Records a turn's numbers as it ends. All instruments are made here, once."""

    def __init__(self, meter: Meter) -> None:
        turn = "dbevents.llm.turn."
        self._duration = meter.create_histogram(
            turn + "duration",
            "s",
            "Duration of turns of LLM work.",
            explicit_bucket_boundaries_advisory=_TURN_BUCKETS,
        )
        self._database = meter.create_histogram(
            turn + "database_time",
            "s",
            "Time that a turn waited for the database; what ran side by side counts once.",
            explicit_bucket_boundaries_advisory=_DATABASE_BUCKETS,
        )
        self._queries = meter.create_histogram(
            turn + "queries",
            "{query}",
            "Queries that a turn ran, failed ones included.",
            explicit_bucket_boundaries_advisory=_QUERY_BUCKETS,
        )
        self._errors = meter.create_counter(
            turn + "errors",
            "{error}",
            "Queries, COMMITs, ROLLBACKs, connections and checkouts that failed in turns.",
        )

    def record(
        self, duration_ns: int, busy_ns: int, queries: int, errors: int, context: Context
    ) -> None:
        """Record one turn; exemplars point to the span of ``context``."""
        self._duration.record(duration_ns / 1e9, _NONE, context)
        self._database.record(busy_ns / 1e9, _NONE, context)
        self._queries.record(queries, _NONE, context)
        self._errors.add(errors, _NONE, context)  # also zero, so that a rate can be computed

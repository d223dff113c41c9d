"""Queries: which take the time, which are slow, which fail, which run in a loop."""

from typing import Final

from deploy.grafana.boards.chosen import CHOICES, DATABASE, MARKS, logs_in_database
from deploy.grafana.layout import Row, board
from deploy.grafana.panels import (
    OBJECTIVE_S,
    OF_LATENCY,
    OF_NONE,
    Column,
    heatmap,
    logs,
    series,
    steps,
    table,
)
from deploy.grafana.questions import counted, prom

_SECONDS: Final = "db_client_operation_duration_seconds"
_ROWS: Final = "db_client_response_returned_rows"
_BY: Final = "db_query_summary, db_namespace"
_NAMES: Final = {"db_query_summary": "Query", "db_namespace": "Database"}
_FAILURES: Final = f'{_SECONDS}_count{{{DATABASE},error_type!=""}}'
_NAMED: Final = f'{DATABASE},db_query_summary!=""'
_BUCKETS: Final = f"{_SECONDS}_bucket{{{_NAMED}}}"


def _top(curve: str, whole: str) -> str:
    """Return the curves of the ten that have the most over the whole time shown.

    ``topk`` alone would choose anew at each moment, and leave pieces of many.
    """
    return f"{curve} and on ({_BY}) topk(10, {whole})"


def _top_rates(metric: str) -> str:
    series = f"{metric}{{{_NAMED}}}"
    whole = f"sum by ({_BY}) (rate({series}[$__range] @ end()))"
    return _top(f"sum by ({_BY}) (rate({series}[$__rate_interval]))", whole)


def _sum(metric: str) -> str:
    return f"sum by ({_BY}) ({counted(f'{metric}{{{_NAMED}}}')})"


def _mean(metric: str) -> str:
    return f"{_sum(f'{metric}_sum')} / ({_sum(f'{metric}_count')} > 0)"


def _quantile(buckets: str) -> str:
    return f"histogram_quantile(0.95, sum by (le, {_BY}) ({buckets}))"


_TOP = Row(
    [
        table(
            "Queries by the time they take",
            "All runs in the time shown, added up: the first line is where the database's time "
            "goes. A query is its summary: what it does and to which tables.",
            _NAMES,
            [
                Column("Time", _sum(f"{_SECONDS}_sum"), "s", decimals=2, bar=True),
                Column("Runs", _sum(f"{_SECONDS}_count"), decimals=0),
                Column("Mean", _mean(_SECONDS), "s", OF_LATENCY),
                Column("P95", _quantile(counted(_BUCKETS)), "s", OF_LATENCY),
                Column("Rows", _mean(_ROWS), decimals=1),
            ],
            "Time",
        )
    ],
    title="Where the time goes",
    height=10,
)

_TIME = Row(
    [
        series(
            "Time in queries",
            "Seconds of the database's time per second, by query. 1 keeps one connection busy.",
            prom(
                _top_rates(f"{_SECONDS}_sum"),
                "{{db_query_summary}} {{db_namespace}}",
            ),
            unit="none",
            stacked=True,
        ),
        series(
            "Runs",
            "Queries per second, of the ten that run most often.",
            prom(
                _top_rates(f"{_SECONDS}_count"),
                "{{db_query_summary}} {{db_namespace}}",
            ),
            unit="ops",
            stacked=True,
        ),
    ],
)

_SLOW = Row(
    [
        heatmap(
            "How long queries take",
            "How many queries took how long. Dots are queries with their traces: click one.",
            f"sum by (le) (increase({_SECONDS}_bucket{{{DATABASE}}}[$__rate_interval]))",
        ),
        series(
            "Slowest queries",
            f"P95 of the ten slowest. The line is the objective, {OBJECTIVE_S} s. A dot is a query "
            "with its trace.",
            prom(
                _top(
                    _quantile(f"rate({_BUCKETS}[$__rate_interval])"),
                    _quantile(f"rate({_BUCKETS}[$__range] @ end())"),
                ),
                "{{db_query_summary}} {{db_namespace}}",
                exemplars=True,
            ),
            unit="s",
            limits=steps(("transparent", 0), ("red", OBJECTIVE_S)),
        ),
        logs(
            "Slow queries",
            "Each query that took longer than OTEL_DBEVENTS_SLOW_QUERY_MS, with the line of code "
            "that sent it. Open a line for the way to its trace.",
            logs_in_database("database.query.slow")
            + " | line_format `{{.dbevents_duration}} s {{.db_query_text}} "
            "at {{.code_file_path}}:{{.code_line_number}}`",
        ),
    ],
    title="Slow",
)

_REPEATED = Row(
    [
        series(
            "Loops over queries (N+1)",
            "How often per minute one statement ran again and again under one span, by query.",
            prom(
                "60 * sum by (db_query_summary) (rate(dbevents_repeated_queries_total"
                f"{{{DATABASE}}}[$__rate_interval]))",
                "{{db_query_summary}}",
            ),
            stacked=True,
        ),
        logs(
            "Where they are",
            "How often which query ran, the line of code, and what would mend it where that is "
            "known.",
            logs_in_database("database.query.repeated")
            + " | line_format `{{.dbevents_query_count}} x {{.db_query_summary}} "
            "at {{.code_file_path}}:{{.code_line_number}} {{.dbevents_advice}}`",
        ),
    ],
    title="In a loop",
)

_FAILED = Row(
    [
        table(
            "Queries that failed",
            "Failed queries in the time shown, by query and error. The code is the database's own.",
            _NAMES | {"db_operation_name": "Operation", "error_type": "Error"},
            [
                Column(
                    "Failed",
                    f"sum by ({_BY}, db_operation_name, error_type) ({counted(_FAILURES)}) > 0",
                    decimals=0,
                    limits=OF_NONE,
                )
            ],
            "Failed",
        ),
        series(
            "Failures",
            "Failed queries, COMMITs and ROLLBACKs per second, by error.",
            prom(
                f"sum by (error_type) (rate({_SECONDS}_count"
                f'{{{DATABASE},error_type!=""}}[$__rate_interval]))',
                "{{error_type}}",
            ),
            unit="ops",
        ),
        logs(
            "The latest",
            "Each query that failed. Its text has no literals.",
            logs_in_database("db.client.operation.exception")
            + " | line_format `{{.error_type}} {{.exception_type}} {{.db_query_text}}`",
        ),
    ],
    title="Failing",
)

BOARD: Final = board(
    "dbevents-queries",
    "Databases: queries",
    "Which queries take the time, which are slow, which run in a loop, and which fail.",
    [_TOP, _TIME, _SLOW, _REPEATED, _FAILED],
    CHOICES,
    MARKS,
)

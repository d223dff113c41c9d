"""Transactions: how they end, and what the COMMIT takes."""

from typing import Final

from deploy.grafana.boards.chosen import CHOICES, DATABASE, MARKS, logs_in_database
from deploy.grafana.layout import Row, board
from deploy.grafana.panels import (
    OBJECTIVE_S,
    OF_LATENCY,
    OF_NONE,
    Column,
    logs,
    series,
    stat,
    steps,
    table,
)
from deploy.grafana.questions import counted, prom

_ALL: Final = f"dbevents_transactions_total{{{DATABASE}}}"
_COMMITS_FAILED: Final = (
    f'dbevents_transactions_total{{{DATABASE},dbevents_transaction_outcome="commit_failed"}}'
)
_SECONDS: Final = "db_client_operation_duration_seconds"
_OUTCOME: Final = "dbevents_transaction_outcome"


def _of(outcomes: str, window: str = "$__rate_interval", by: str = "") -> str:
    chosen = f'dbevents_transactions_total{{{DATABASE},{_OUTCOME}=~"{outcomes}"}}[{window}]'
    return f"sum{f' by ({by})' if by else ''} (rate({chosen}))"


def _quantile(operation: str, share: float, window: str = "$__rate_interval") -> str:
    buckets = f'{_SECONDS}_bucket{{{DATABASE},db_operation_name="{operation}"}}[{window}]'
    return f"histogram_quantile({share}, sum by (le) (rate({buckets})))"


_NOW = Row(
    [
        stat(
            "Transactions per second",
            "Transactions that ended, in whichever way.",
            f"sum(rate({_ALL}[$__rate_interval]))",
            unit="ops",
        ),
        stat(
            "COMMITs that failed",
            "In the time shown: transactions that were to be kept, and were not.",
            f"sum({counted(_COMMITS_FAILED)}) or vector(0)",
            limits=OF_NONE,
            decimals=0,
        ),
        stat(
            "Rolled back",
            "Transactions that had written or failed and were undone, of those that wrote.",
            f"{_of('rolled_back|rollback_failed')} / "
            f"{_of('committed|commit_failed|rolled_back|rollback_failed')}",
            unit="percentunit",
            limits=steps(("green", 0), ("yellow", 0.1), ("red", 0.3)),
            decimals=0,
        ),
        stat(
            "P95 of COMMIT",
            "What keeping a transaction takes.",
            _quantile("COMMIT", 0.95),
            unit="s",
            limits=OF_LATENCY,
        ),
    ],
    height=5,
)

_ENDS = Row(
    [
        series(
            "How they end",
            "Per second. Released: it had only read, so there was nothing to keep or to lose.",
            prom(_of(".+", by=_OUTCOME), f"{{{{{_OUTCOME}}}}}"),
            unit="ops",
            stacked=True,
        ),
        series(
            "COMMITs that failed",
            "Of all COMMITs. They are rare where all is well: constraints that are checked late, "
            "serialisation, a lost connection.",
            prom(f"{_of('commit_failed')} / {_of('committed|commit_failed')}", "failed"),
            unit="percentunit",
            limits=steps(("transparent", 0), ("red", 0.05)),
            most=1,
        ),
        series(
            "COMMIT and ROLLBACK",
            "What they take. A dot has its trace.",
            prom(_quantile("COMMIT", 0.5), "COMMIT P50"),
            prom(_quantile("COMMIT", 0.95), "COMMIT P95", exemplars=True),
            prom(_quantile("ROLLBACK", 0.95), "ROLLBACK P95"),
            unit="s",
            limits=steps(("transparent", 0), ("red", OBJECTIVE_S)),
        ),
    ],
    title="How transactions end",
)

_WHERE = Row(
    [
        table(
            "By database",
            "Transactions in the time shown, by database and outcome.",
            {
                "service_name": "Service",
                "db_system_name": "System",
                "db_namespace": "Database",
                _OUTCOME: "Outcome",
            },
            [
                Column(
                    "Transactions",
                    f"sum by (service_name, db_system_name, db_namespace, {_OUTCOME}) "
                    f"({counted(_ALL)})",
                    decimals=0,
                    bar=True,
                )
            ],
            "Transactions",
        ),
        logs(
            "What failed",
            "Each COMMIT and ROLLBACK that failed: the error, how many statements were lost with "
            "it, and how long the transaction had lasted.",
            logs_in_database("database.commit.failed", "database.rollback.failed")
            + " | line_format `{{.event_name}} {{.db_namespace}} {{.error_type}} "
            "{{.exception_type}} with {{.dbevents_transaction_statement_count}} statements in "
            "{{.dbevents_transaction_duration}} s`",
        ),
    ],
    title="Where",
)

BOARD: Final = board(
    "dbevents-transactions",
    "Databases: transactions",
    "How transactions end, which COMMITs failed, and what COMMIT takes.",
    [_NOW, _ENDS, _WHERE],
    CHOICES,
    MARKS,
)

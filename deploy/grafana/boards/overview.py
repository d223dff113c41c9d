"""Overview and SLO: is the database there, is it fast enough, how much of the budget is left."""

from typing import Final

from deploy.grafana.boards.chosen import CHOICES, DATABASE, MARKS, logs_in_database
from deploy.grafana.layout import Row, board, choice, linked
from deploy.grafana.panels import (
    DASHED,
    OBJECTIVE_S,
    OF_LATENCY,
    OF_NONE,
    TARGET,
    Column,
    logs,
    painted,
    series,
    stat,
    states,
    steps,
    table,
)
from deploy.grafana.questions import Json, counted, prom

_SECONDS: Final = "db_client_operation_duration_seconds"
# Not the recording rule of that name, which has no identity.
_STATUS: Final = f'database_connection_status{{{DATABASE},dbevents_aggregate_id!=""}}'
_BY: Final = "deployment_environment_name, db_system_name, db_namespace"
_CHECKS: Final = "database_health_latency_seconds"
_COUNT: Final = f"{_SECONDS}_count{{{DATABASE}}}"
_FAILED: Final = f'{_SECONDS}_count{{{DATABASE},error_type!=""}}'
_UP: Final[Json] = {
    "0": {"text": "away", "color": "red", "index": 0},
    "1": {"text": "up", "color": "green", "index": 1},
}
_OF_SHARE: Final = steps(("red", 0), ("yellow", TARGET), ("green", TARGET + (1 - TARGET) / 2))
_OF_ERRORS: Final = steps(("green", 0), ("yellow", 0.01), ("red", 0.05))


def fast(window: str) -> str:
    """Return the share of queries below the objective, exactly: it is a histogram's boundary."""
    within = counted(f'{_SECONDS}_bucket{{{DATABASE},le="{OBJECTIVE_S}"}}', window)
    return f"sum({within}) / sum({counted(_COUNT, window)})"


def burnt(window: str) -> str:
    """Return how fast the budget burns: 1 is just as fast as it may."""
    return f"(1 - {fast(window)}) / {1 - TARGET:.2f}"


def _quantile(share: float) -> str:
    rates = f"sum by (le) (rate({_SECONDS}_bucket{{{DATABASE}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {rates})"


def _connects_failed(window: str) -> str:
    failures = f"sum(rate(database_connection_failures_total{{{DATABASE}}}[{window}]))"
    attempts = f"sum(rate(database_connection_attempts_total{{{DATABASE}}}[{window}]))"
    return f"clamp_max({failures} / {attempts}, 1)"


_NOW = Row(
    [
        stat(
            "Databases away",
            "Databases that did not give the last connection asked for.",
            f"count(min by ({_BY}) ({_STATUS}) == 0) or vector(0)",
            limits=OF_NONE,
        ),
        linked(
            stat(
                "P95 of queries",
                f"95 of 100 queries in the time shown took less. The objective is {OBJECTIVE_S} s.",
                f"histogram_quantile(0.95, sum by (le) "
                f"({counted(f'{_SECONDS}_bucket{{{DATABASE}}}')}))",
                unit="s",
                limits=OF_LATENCY,
            ),
            "Queries",
            "dbevents-queries",
        ),
        stat(
            "Within the objective",
            f"Queries below {OBJECTIVE_S} s, of all in the time shown. Exact, as it is a boundary "
            f"of the histogram. The target is {TARGET:.0%}.",
            fast("$__range"),
            unit="percentunit",
            limits=_OF_SHARE,
            decimals=2,
        ),
        stat(
            "Budget left",
            "Of the slow queries that the target allows in the chosen window: what is left. Below "
            "zero, more were slow.",
            f"1 - {burnt('$window')}",
            unit="percentunit",
            limits=steps(("red", 0), ("yellow", 1e-9), ("green", 0.25)),
            decimals=0,
        ),
        stat(
            "Queries per second",
            "Queries, COMMITs and ROLLBACKs, failed ones included.",
            f"sum(rate({_COUNT}[$__rate_interval]))",
            unit="ops",
        ),
        stat(
            "Queries that failed",
            "Failed queries, COMMITs and ROLLBACKs, of all in the time shown.",
            f"sum({counted(_FAILED)}) / sum({counted(_COUNT)})",
            unit="percentunit",
            limits=_OF_ERRORS,
            decimals=1,
        ),
    ],
    height=5,
)

_SLO = Row(
    [
        series(
            "Latency",
            "P50, P95 and P99 of queries; the line is the objective. A dot is a query with its "
            "trace: click it.",
            prom(_quantile(0.5), "P50"),
            prom(_quantile(0.95), "P95", exemplars=True),
            prom(_quantile(0.99), "P99"),
            unit="s",
            limits=steps(("transparent", 0), ("red", OBJECTIVE_S)),
        ),
        series(
            "Burn rate",
            "How fast the budget burns, over three windows. 1 uses it up just in time. Worth "
            "waking somebody where both a long and a short window are high.",
            *(prom(burnt(window), window) for window in ("5m", "1h", "6h")),
            limits=steps(("transparent", 0), ("orange", 1), ("red", 6)),
        ),
        series(
            "Budget left",
            "The burn-down: at each moment, what was left of the budget of the chosen window up to "
            "then.",
            prom(f"1 - {burnt('$window')}", "left"),
            unit="percentunit",
            limits=steps(("red", 0), ("transparent", 1e-9)),
            least=None,
            most=1,
        ),
    ],
    title=f"SLO: {TARGET:.0%} of queries below {OBJECTIVE_S} s",
)

_DATABASES = Row(
    [
        linked(
            table(
                "Databases",
                "Each database as it is now. Status is the outcome of the last connection asked "
                "for.",
                {
                    "deployment_environment_name": "Environment",
                    "db_system_name": "System",
                    "db_namespace": "Database",
                },
                [
                    Column(
                        "Status",
                        f"min by ({_BY}) ({_STATUS})",
                        names=_UP,
                    ),
                    Column(
                        "Queries",
                        f"sum by ({_BY}) ({counted(_COUNT)})",
                        decimals=0,
                    ),
                    Column(
                        "P95",
                        f"histogram_quantile(0.95, sum by (le, {_BY}) "
                        f"({counted(f'{_SECONDS}_bucket{{{DATABASE}}}')}))",
                        "s",
                        OF_LATENCY,
                    ),
                    Column(
                        "Failed",
                        f"sum by ({_BY}) ({counted(_FAILED)}) / sum by ({_BY}) ({counted(_COUNT)})",
                        "percentunit",
                        _OF_ERRORS,
                        1,
                    ),
                ],
                "Queries",
            ),
            "Queries",
            "dbevents-queries",
        ),
        states(
            "Reachable",
            "When each database gave the last connection that was asked for, and when it did not.",
            f"min by ({_BY}) ({_STATUS})",
            "{{db_system_name}} {{db_namespace}}",
            _UP,
        ),
        table(
            "Alerts that fire",
            "What Prometheus' rules say now: deploy/prometheus/rules, and what to do of each in "
            "docs/runbooks. Empty where none fires, or where no rules are loaded.",
            {"severity": "Severity", "alertname": "Alert"},
            [
                Column(
                    "Number",
                    'sum by (severity, alertname) (ALERTS{alertstate="firing"})',
                    decimals=0,
                )
            ],
            "Number",
        ),
    ],
    title="Databases",
    widths=(11, 6, 7),
)

_HEALTH = Row(
    [
        series(
            "Round trip of a health check",
            "P95 by database: from 0.1 s on a database is degraded, from 0.2 s on unhealthy. Each "
            "is asked on a connection of its own, so that a full pool is not in it.",
            prom(
                f"histogram_quantile(0.95, sum by (le, {_BY}) "
                f"(rate({_CHECKS}_bucket{{{DATABASE}}}[$__rate_interval])))",
                "{{db_system_name}} {{db_namespace}}",
            ),
            unit="s",
            limits=steps(("transparent", 0), ("orange", 0.1), ("red", OBJECTIVE_S)),
        ),
        series(
            "Health checks",
            "How they ended, per minute.",
            prom(
                "60 * sum by (dbevents_health_status) "
                f"(rate({_CHECKS}_count{{{DATABASE}}}[$__rate_interval]))",
                "{{dbevents_health_status}}",
            ),
            stacked=True,
            overrides=[
                painted("healthy", "green"),
                painted("degraded", "orange"),
                painted("unhealthy", "red"),
            ],
        ),
        series(
            "P95 as the applications see it",
            "Of each database's last minutes, from the durations themselves, and the objective "
            "that the application was given (dashed). It says nothing below 20 queries.",
            prom(
                f"max by (service_name, {_BY}) (dbevents_slo_p95_seconds{{{DATABASE}}})",
                "{{service_name}} {{db_namespace}}",
            ),
            prom(
                f"max by (service_name, {_BY}) (dbevents_slo_objective_seconds{{{DATABASE}}})",
                "most {{service_name}} {{db_namespace}}",
            ),
            unit="s",
            overrides=[DASHED],
        ),
        logs(
            "Checks that were not well",
            "Each check that found a database degraded or unhealthy, with what it saw of the pool "
            "and of the last minutes' queries.",
            logs_in_database("database.health_check.completed")
            + ' | dbevents_health_status!="healthy" | line_format '
            "`{{.dbevents_health_status}} {{.db_system_name}}/{{.db_namespace}} "
            "{{.dbevents_health_latency}} s {{.dbevents_health_detail_error_type}} "
            "pool {{.dbevents_health_detail_pool_used}}/{{.dbevents_health_detail_pool_max}}`",
        ),
    ],
    title="Health checks",
)

_CONNECTIONS = Row(
    [
        series(
            "Connections that failed",
            "Of the attempts to open a connection, those that gave none.",
            prom(_connects_failed("$__rate_interval"), "failed"),
            unit="percentunit",
            limits=steps(("transparent", 0), ("red", 0.05)),
            most=1,
        ),
        series(
            "Connections opened and refused",
            "Attempts to open a connection, and those that failed, by the kind of error.",
            prom(
                f"sum(rate(database_connection_attempts_total{{{DATABASE}}}[$__rate_interval]))",
                "attempts",
            ),
            prom(
                "sum by (error_type) (rate(database_connection_failures_total"
                f'{{{DATABASE},error_type!=""}}[$__rate_interval]))',
                "{{error_type}}",
            ),
            unit="ops",
        ),
        logs(
            "What failed, and what recovered",
            "Connections, checkouts and COMMITs that failed, and databases that were back. Open a "
            "line for its fields and its trace.",
            logs_in_database(
                "database.connection.failed",
                "database.checkout.timed_out",
                "database.commit.failed",
                "database.rollback.failed",
                "database.recovered",
            )
            + " | line_format `{{.event_name}} {{.db_system_name}}/{{.db_namespace}} "
            "{{.error_type}} {{.dbevents_error_message}}`",
        ),
    ],
    title="Connections",
)

BOARD: Final = board(
    "dbevents-overview",
    "Databases: overview and SLO",
    "Is the database reachable, are queries within their objective, and what failed.",
    [_NOW, _SLO, _DATABASES, _HEALTH, _CONNECTIONS],
    [*CHOICES, choice("window", "SLO window", ("1h", "6h", "1d", "7d", "30d"), "1d")],
    MARKS,
)

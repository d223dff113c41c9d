"""Pool: how full it is, who waits, and for how long."""

from typing import Final

from deploy.grafana.boards.chosen import ENVIRONMENT_OF, MARKS, POOL, POOL_OF, SERVICE_OF, logs_of
from deploy.grafana.layout import Row, board
from deploy.grafana.panels import DASHED, OF_NONE, logs, series, stat, steps
from deploy.grafana.questions import Json, counted, prom

_CONNECTION: Final = "db_client_connection"
_BY: Final = "service_name, db_client_connection_pool_name"
_POOL: Final = "{{service_name}} {{db_client_connection_pool_name}}"
_OF_USE: Final = steps(("green", 0), ("yellow", 0.8), ("red", 0.95))


def _count(state: str) -> str:
    return f'{_CONNECTION}_count{{{POOL},db_client_connection_state="{state}"}}'


def _use(by: str = _BY) -> str:
    return f"sum by ({by}) ({_count('used')}) / sum by ({by}) ({_CONNECTION}_max{{{POOL}}})"


def _quantile(metric: str, share: float = 0.95) -> str:
    buckets = f"{_CONNECTION}_{metric}_seconds_bucket{{{POOL}}}[$__rate_interval]"
    return f"histogram_quantile({share}, sum by (le, {_BY}) (rate({buckets})))"


def _times(title: str, description: str, metric: str) -> Json:
    return series(title, description, prom(_quantile(metric), _POOL, exemplars=True), unit="s")


_NOW = Row(
    [
        stat(
            "Fullest pool",
            "Connections in use, of as many as the pool may have: the fullest of those chosen.",
            f"max({_use()})",
            unit="percentunit",
            limits=_OF_USE,
            decimals=0,
        ),
        stat(
            "In use",
            "Connections that are taken from their pools now.",
            f"sum({_count('used')})",
        ),
        stat(
            "Idle",
            "Connections that are open and wait in their pools.",
            f"sum({_count('idle')})",
        ),
        stat(
            "Callers that wait",
            "Requests that wait for a connection now.",
            f"sum({_CONNECTION}_pending_requests{{{POOL}}})",
            limits=OF_NONE,
        ),
        stat(
            "Waits that ran out of time",
            "In the time shown: callers that got an error in the place of a connection.",
            f"sum({counted(f'{_CONNECTION}_timeouts_total{{{POOL}}}')}) or vector(0)",
            limits=OF_NONE,
            decimals=0,
        ),
    ],
    height=5,
    widths=(6, 4, 4, 4, 6),
)

_FULL = Row(
    [
        series(
            "Connections",
            "In use, idle, and the most that there may be (dashed), by pool.",
            prom(f"sum by ({_BY}) ({_count('used')})", f"used {_POOL}"),
            prom(f"sum by ({_BY}) ({_count('idle')})", f"idle {_POOL}"),
            prom(f"sum by ({_BY}) ({_CONNECTION}_max{{{POOL}}})", f"most {_POOL}"),
            overrides=[DASHED],
        ),
        series(
            "How full",
            "Connections in use, of the most that the pool may have. At 100 % the next caller "
            "waits.",
            prom(_use(), _POOL),
            unit="percentunit",
            limits=steps(("transparent", 0), ("orange", 0.8), ("red", 0.95)),
            most=1,
        ),
        series(
            "Callers that wait",
            "Requests that waited for a connection when the number was read; below, as negative "
            "numbers, waits per second that ran out of time.",
            prom(f"sum by ({_BY}) ({_CONNECTION}_pending_requests{{{POOL}}})", _POOL),
            prom(
                f"-sum by ({_BY}) (rate({_CONNECTION}_timeouts_total{{{POOL}}}[$__rate_interval]))",
                f"timed out {_POOL}",
            ),
            least=None,
        ),
    ],
    title="How full",
)

_TIMES = Row(
    [
        _times(
            "Wait for a connection",
            "P95 of the time to get one from the pool, opening it included. A dot has its trace.",
            "wait_time",
        ),
        _times(
            "Time in use",
            "P95 of the time from taking a connection to giving it back. What holds connections "
            "for long fills the pool. A dot has its trace.",
            "use_time",
        ),
        _times("Time to open one", "P95 of the time that the database took for it.", "create_time"),
    ],
    title="Times",
)

_EVENTS = Row(
    [
        series(
            "Connections opened",
            "New connections per second. Many of them mean that the pool is too small, or that "
            "connections are not given back whole.",
            prom(
                f"sum by ({_BY}) (rate({_CONNECTION}_create_time_seconds_count{{{POOL}}}"
                "[$__rate_interval]))",
                _POOL,
            ),
            unit="ops",
        ),
        logs(
            "Who held the connections",
            "Each wait that ran out of time, with the lines of code that had the pool's "
            "connections then, and for how many seconds.",
            logs_of("database.checkout.timed_out")
            + ' | db_client_connection_pool_name=~"$pool" | line_format '
            "`{{.db_client_connection_pool_name}}: {{.dbevents_pool_used}} of "
            "{{.dbevents_pool_max}} held by {{.dbevents_pool_holder_code}} "
            "for {{.dbevents_pool_holder_held}}`",
        ),
    ],
    title="What happened",
    widths=(8, 16),
)

BOARD: Final = board(
    "dbevents-pool",
    "Databases: connection pools",
    "How full the pools are, who waits for a connection and for how long, and who has them.",
    [_NOW, _FULL, _TIMES, _EVENTS],
    [ENVIRONMENT_OF, SERVICE_OF, POOL_OF],
    MARKS,
)

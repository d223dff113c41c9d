"""Prompts and databases: what the database does for a turn of an LLM application."""

from typing import Final

from deploy.grafana.boards.chosen import ENVIRONMENT_OF, MARKS, SERVICE, logs_of
from deploy.grafana.layout import Row, board, choice, variable
from deploy.grafana.panels import OF_LATENCY, OF_NONE, logs, series, stat, steps, traces
from deploy.grafana.questions import counted, jaeger, prom

_TURN: Final = "dbevents_llm_turn"
_OF_QUERIES: Final = steps(("green", 0), ("yellow", 20), ("red", 100))
_OF_SHARE: Final = steps(("green", 0), ("yellow", 0.25), ("red", 0.5))
_IN_LLM_WORK: Final = "dbevents.llm=true"


def _sum(metric: str) -> str:
    return f"sum(rate({_TURN}_{metric}{{{SERVICE}}}[$__rate_interval]))"


def _all(metric: str) -> str:
    return f"sum({counted(f'{_TURN}_{metric}{{{SERVICE}}}')})"


def _quantile(metric: str, share: float) -> str:
    buckets = f"{_TURN}_{metric}_bucket{{{SERVICE}}}[$__rate_interval]"
    return f"histogram_quantile({share}, sum by (le) (rate({buckets})))"


def _share() -> str:
    return f"{_sum('database_time_seconds_sum')} / {_sum('duration_seconds_sum')}"


_NOW = Row(
    [
        stat(
            "Turns per minute",
            "A turn is the outermost span of LLM work: an agent's answer with all that it did.",
            f"60 * {_sum('duration_seconds_count')}",
            decimals=1,
        ),
        stat(
            "The database's share",
            "Of the time that turns took, what they waited for the database. Work that ran side by "
            "side counts once.",
            f"{_all('database_time_seconds_sum')} / {_all('duration_seconds_sum')}",
            unit="percentunit",
            limits=_OF_SHARE,
            decimals=1,
        ),
        stat(
            "P95 of the database's time",
            "What 95 of 100 turns waited less for the database.",
            "histogram_quantile(0.95, sum by (le) "
            f"({counted(f'{_TURN}_database_time_seconds_bucket{{{SERVICE}}}')}))",
            unit="s",
            limits=OF_LATENCY,
        ),
        stat(
            "Queries per turn",
            "The mean. Many of them are a tool that asks row by row.",
            f"{_all('queries_sum')} / {_all('queries_count')}",
            limits=_OF_QUERIES,
            decimals=1,
        ),
        stat(
            "Errors in turns",
            "In the time shown: failed queries, COMMITs, ROLLBACKs, connections and checkouts "
            "within turns.",
            f"sum({counted(f'{_TURN}_errors_total{{{SERVICE}}}')})",
            limits=OF_NONE,
            decimals=0,
        ),
    ],
    height=5,
    widths=(5, 5, 5, 5, 4),
)

_TIMES = Row(
    [
        series(
            "How long turns take",
            "Turns as a whole, and the part of it that they waited for the database. A dot is a "
            "turn with its trace.",
            prom(_quantile("duration_seconds", 0.5), "turn P50"),
            prom(_quantile("duration_seconds", 0.95), "turn P95", exemplars=True),
            prom(_quantile("database_time_seconds", 0.5), "database P50"),
            prom(_quantile("database_time_seconds", 0.95), "database P95", exemplars=True),
            unit="s",
        ),
        series(
            "The database's share",
            "Of the time that turns took.",
            prom(_share(), "database"),
            unit="percentunit",
            limits=steps(("transparent", 0), ("orange", 0.25), ("red", 0.5)),
            most=1,
        ),
        series(
            "Queries per turn",
            "A few turns with very many queries are where a prompt, or a tool, asks row by row.",
            prom(_quantile("queries", 0.5), "P50"),
            prom(_quantile("queries", 0.95), "P95", exemplars=True),
            prom(_quantile("queries", 0.99), "P99"),
        ),
    ],
    title="Turns",
)

_TRACES = Row(
    [
        traces(
            "Turns with database work",
            "Traces that have a query within LLM work. Open one: each LLM span says in its "
            "attributes how many queries ran below it, how long they took, and which was slowest; "
            "each query says which generation caused it.",
            jaeger("$service", _IN_LLM_WORK),
        ),
        traces(
            "Turns with a slow query",
            "The same, where a query took at least as long as chosen above.",
            jaeger("$service", _IN_LLM_WORK, longer_than="$slow"),
        ),
    ],
    title="Traces",
    height=9,
)

_LOOPS = Row(
    [
        series(
            "Loops over queries (N+1)",
            "How often per minute one statement ran again and again under one span, by query.",
            prom(
                "60 * sum by (db_query_summary) (rate(dbevents_repeated_queries_total"
                f"{{{SERVICE}}}[$__rate_interval]))",
                "{{db_query_summary}}",
            ),
            stacked=True,
        ),
        logs(
            "What tools and retrievers should do better",
            "Loops over queries and slow queries of this service, with the line of code. Open a "
            "line for its trace, which has the prompt.",
            logs_of("database.query.repeated", "database.query.slow")
            + " | line_format `{{.event_name}} {{.dbevents_query_count}} {{.db_query_summary}} "
            "{{.dbevents_duration}} s at {{.code_file_path}}:{{.code_line_number}}`",
        ),
    ],
    title="Loops and slow queries",
)

BOARD: Final = board(
    "dbevents-prompts",
    "Databases: prompts",
    "What the database does for the turns of an LLM application: its share of their time, the "
    "queries per turn, and the traces. What each prompt and generation caused is in the trace.",
    [_NOW, _TIMES, _TRACES, _LOOPS],
    [
        ENVIRONMENT_OF,
        variable(
            "service",
            "Service",
            f"label_values({_TURN}_duration_seconds_count"
            '{deployment_environment_name=~"$environment"}, service_name)',
            multi=False,  # Jaeger asks for one
        ),
        choice("slow", "A slow query takes", ("50ms", "200ms", "1s"), "200ms"),
    ],
    MARKS,
)

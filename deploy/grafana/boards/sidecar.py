"""Sidecar: what waits on the way, what was lost, what was put aside."""

from typing import Final

from deploy.grafana.boards.chosen import ENVIRONMENT_OF, SERVICE, SERVICE_OF
from deploy.grafana.layout import Row, board, variable
from deploy.grafana.panels import DASHED, OF_NONE, Column, series, stat, states, steps, table
from deploy.grafana.questions import Json, counted, prom

_SIDECAR: Final = "dbevents_sidecar"
_OF: Final = 'instance=~"$sidecar"'
_UP: Final[Json] = {
    "0": {"text": "away", "color": "red", "index": 0},
    "1": {"text": "there", "color": "green", "index": 1},
}
_OF_LAG: Final = steps(("green", 0), ("yellow", 10), ("red", 60))


def _all(metric: str) -> str:
    return f"{_SIDECAR}_{metric}{{{_OF}}}"


def _rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({_all(metric)}[$__rate_interval]))"


_NOW = Row(
    [
        stat(
            "Lag",
            "The age of the oldest entry that is not handled. The first number to look at: where "
            "it grows, the collector is away, or one sidecar is not enough.",
            f"max({_all('lag_seconds')})",
            unit="s",
            limits=_OF_LAG,
            decimals=1,
        ),
        stat(
            "Entries that wait",
            "Entries in Redis that are not handled yet, of up to 100 events each.",
            f"max({_all('lag_entries')})",
        ),
        stat(
            "Events per second",
            "Events whose telemetry the collector has taken.",
            _rate("events_handled_total"),
            unit="ops",
        ),
        stat(
            "Events lost",
            "Events that will not come, since the sidecars began.",
            f"sum({_all('events_lost_total')}) or vector(0)",
            limits=OF_NONE,
        ),
        stat(
            "Dead letters",
            "Entries put aside since the sidecars began: `otel-dbevents dlq list` says why.",
            f"sum({_all('dead_letters_total')}) or vector(0)",
            limits=OF_NONE,
        ),
        stat(
            "Redis and collector",
            "Whether each sidecar reaches both.",
            f"min({_all('redis_up')} * {_all('collector_up')})",
            names=_UP,
        ),
    ],
    height=5,
)

_FLOW = Row(
    [
        series(
            "Lag",
            "The age of the oldest entry that is not handled, by sidecar.",
            prom(_all("lag_seconds"), "{{instance}}"),
            unit="s",
            limits=steps(("transparent", 0), ("orange", 10), ("red", 60)),
        ),
        series(
            "Entries",
            "Those that wait in Redis, and those in hand until the collector takes them.",
            prom(_all("lag_entries"), "waiting {{instance}}"),
            prom(_all("held_entries"), "in hand {{instance}}"),
        ),
        series(
            "Events",
            "Read from Redis, told to the collector, and left out as they came twice, per second.",
            prom(_rate("events_read_total"), "read"),
            prom(_rate("events_handled_total"), "handled"),
            prom(_rate("events_duplicate_total"), "came twice"),
            prom(_rate("events_again_total"), "back from the dead letters"),
            unit="ops",
        ),
    ],
    title="The way through",
)

_AWAY = Row(
    [
        states(
            "Redis and collector",
            "When the sidecars reached them, and when not.",
            f"label_replace(min({_all('redis_up')}), 'what', 'Redis', '', '') or "
            f"label_replace(min({_all('collector_up')}), 'what', 'collector', '', '')",
            "{{what}}",
            _UP,
        ),
        series(
            "For how long they are away",
            "Seconds since each went away, and the last pause that the collector caused.",
            prom(f"max({_all('redis_down_seconds')})", "Redis"),
            prom(f"max({_all('collector_down_seconds')})", "collector"),
            prom(f"max({_all('collector_pause_seconds')})", "pause"),
            unit="s",
        ),
        series(
            "Sent",
            "Spans and log records that the collector took, and times that it did not take "
            "something, per second.",
            prom(_rate("spans_exported_total"), "spans"),
            prom(_rate("log_records_exported_total"), "log records"),
            prom(_rate("export_retries_total"), "tried again"),
            unit="ops",
        ),
    ],
    title="Redis and collector",
)

_LOST = Row(
    [
        series(
            "Lost, by reason",
            "Events that will not come, counted since each sidecar began.",
            prom(f"sum by (reason) ({_all('events_lost_total')})", "{{reason}}"),
            bars=True,
            stacked=True,
        ),
        series(
            "Dead letters, by reason",
            "Entries put aside, counted since each sidecar began. `otel-dbevents dlq retry` takes "
            "them up again once the reason is mended.",
            prom(f"sum by (reason) ({_all('dead_letters_total')})", "{{reason}}"),
            bars=True,
            stacked=True,
        ),
        series(
            "Refused by the collector",
            "Single items that the collector says it will never take, counted since each sidecar "
            "began.",
            prom(f"sum by (signal) ({_all('refused_total')})", "{{signal}}"),
            bars=True,
            stacked=True,
        ),
    ],
    title="Lost and put aside",
)

_HANDLERS = Row(
    [
        table(
            "Handlers",
            "Your own functions that are given the events: how each does.",
            {"handler": "Handler"},
            [
                Column(
                    "Events/s",
                    f"sum by (handler) (rate({_all('handler_events_total')}[$__range]))",
                    "ops",
                    decimals=1,
                ),
                Column("Waiting", f"sum by (handler) ({_all('handler_lag_entries')})"),
                Column("Lag", f"max by (handler) ({_all('handler_lag_seconds')})", "s", _OF_LAG, 1),
                Column(
                    "Tried again",
                    f"sum by (handler) ({counted(_all('handler_retries_total'))})",
                    decimals=0,
                ),
                Column(
                    "Dead letters",
                    f"sum by (handler) ({_all('handler_dead_letters_total')})",
                    limits=OF_NONE,
                ),
            ],
            "Lag",
        )
    ],
    title="Handlers",
    height=6,
)

_APPLICATION = Row(
    [
        series(
            "Waiting in the applications",
            "Events that wait for Redis, and how many may (dashed), by service.",
            prom(f"sum by (service_name) (dbevents_bus_waiting{{{SERVICE}}})", "{{service_name}}"),
            prom(
                f"sum by (service_name) (dbevents_bus_capacity{{{SERVICE}}})",
                "most {{service_name}}",
            ),
            overrides=[DASHED],
        ),
        series(
            "Redis took nothing",
            "The part of the time in which an application's events were not taken.",
            prom(
                "sum by (service_name) (rate(dbevents_bus_blocked_seconds_total"
                f"{{{SERVICE}}}[$__rate_interval]))",
                "{{service_name}}",
            ),
            unit="percentunit",
            most=1,
        ),
        series(
            "Lost in the applications, by reason",
            "What did not become telemetry, counted since each process began, with a sidecar and "
            "without. docs/telemetry.md says what each reason means.",
            prom(
                "sum by (service_name, dbevents_lost_reason) "
                f"(dbevents_events_lost_total{{{SERVICE}}})",
                "{{service_name}} {{dbevents_lost_reason}}",
            ),
            bars=True,
            stacked=True,
        ),
    ],
    title="In the applications",
)

_COLLECTOR = Row(
    [
        series(
            "The collector's queues",
            "How full the queues on disk are that wait for Jaeger and Loki.",
            prom("otelcol_exporter_queue_size / otelcol_exporter_queue_capacity", "{{exporter}}"),
            unit="percentunit",
            limits=steps(("transparent", 0), ("red", 0.8)),
            most=1,
        ),
        series(
            "The collector takes and refuses",
            "Spans and log records that came, per second, and those that it refused.",
            *(
                prom(f"sum(rate(otelcol_receiver_{done}_{what}[$__rate_interval]))", title)
                for done, what, title in (
                    ("accepted", "spans", "spans"),
                    ("accepted", "log_records", "log records"),
                    ("refused", "spans", "refused spans"),
                    ("refused", "log_records", "refused log records"),
                )
            ),
            unit="ops",
        ),
    ],
    title="The collector",
)

BOARD: Final = board(
    "dbevents-sidecar",
    "Databases: the way of the telemetry",
    "The sidecars, the applications that ship to them, and the collector: what waits, what was "
    "lost, and what was put aside.",
    [_NOW, _FLOW, _AWAY, _LOST, _HANDLERS, _APPLICATION, _COLLECTOR],
    [
        ENVIRONMENT_OF,
        SERVICE_OF,
        variable("sidecar", "Sidecar", f"label_values({_SIDECAR}_lag_seconds, instance)"),
    ],
)

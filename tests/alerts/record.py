"""Record a real run as a test of the rules: `python -m tests.alerts.record` writes recorded.yml.

The applications of the proof have their misfortunes, and the database is killed and comes back.
What Prometheus scraped each second stands in the file as what it has each minute, so that a run of
a minute and a half is an hour and a half for the rules, whose durations nobody changes. Numbers are
those of the run; labels that no rule asks for are left out, and the server's port is always 5432.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.alerts.world import MISFORTUNES, RECORDED, World, locks, world
from tests.services.web import get_json

METRICS = (
    "database_connection_attempts_total",
    "database_connection_failures_total",
    "database_connection_status",
    "database_health_latency_seconds_count",
    "db_client_connection_count",
    "db_client_connection_max",
    "db_client_connection_timeouts_total",
    "db_client_operation_duration_seconds_bucket",
    "db_client_operation_duration_seconds_count",
    "dbevents_repeated_queries_total",
    "dbevents_transactions_total",
)
"""What the rules ask for, of what an application exports."""
LEFT_OUT = ("otel_scope_name", "otel_scope_version", "otel_scope_schema_url", "job")
QUIET, BAD, AFTER, GONE, BACK = 8, 24, 20, 12, 12
"""How many seconds each part lasts; minutes in the file."""

TOLD = {
    "DatabaseLatencyP95High": "waits",
    "DatabasePoolExhausted": "holds",
    "DatabasePoolNearlyExhausted": "holds",
    "DatabaseRepeatedQueries": "loops",
    "DatabaseCommitFailures": "breaks",
    "DatabaseQueryFailureRateHigh": "breaks",
}
"""Which service, and no other, must be told of which alert while all have their misfortunes."""


def play(played: World) -> None:
    """Have it happen."""
    time.sleep(QUIET)
    for service, word in MISFORTUNES.items():
        played.say(service, word)
    with locks(played):
        time.sleep(BAD)
    for service, word in MISFORTUNES.items():
        played.say(service, f"no {word}")
    time.sleep(AFTER)
    played.postgresql.process.kill()
    time.sleep(GONE)
    played.postgresql.process.start()
    time.sleep(BACK)


def labels_of(found: dict[str, str], port: str) -> dict[str, str]:
    """Return what of a series' labels is recorded."""
    return {
        name: value.replace(port, "5432") for name, value in found.items() if name not in LEFT_OUT
    }


def series(played: World, began: float) -> Iterator[tuple[str, str]]:
    """Yield each series and its values, one for each second since."""
    port = str(played.postgresql.port)
    ended = time.time()
    for metric in METRICS:
        asked = {"query": metric, "start": f"{began}", "end": f"{ended}", "step": "1"}
        answer = get_json(f"{played.prometheus.url}/api/v1/query_range", asked)
        for each in answer["data"]["result"]:
            labels = labels_of(each["metric"], port)
            if labels.get("service_name") not in MISFORTUNES or labels.get("le", "0.2") not in (
                "0.2",
                "+Inf",
            ):
                continue
            labels.pop("__name__")
            inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
            known = {round(float(at) - began): value for at, value in each["values"]}
            yield f"{metric}{{{inside}}}", notation(known, round(ended - began))


def notation(known: dict[int, str], length: int) -> str:
    """Return values as promtool writes them: `_` is none, `7x3` is 7 and three more of it."""
    last = max(known)
    said = [known.get(at, "stale" if at == last + 1 else "_") for at in range(length)]
    runs = ((value, len(list(same))) for value, same in groupby(said))
    return " ".join(
        value if count == 1 else f"_x{count}" if value == "_" else f"{value}x{count - 1}"
        for value, count in runs
    )


def expected() -> Iterator[tuple[int, str, str]]:
    """Yield minute, alert, and the service that is told of it; nobody where it is empty."""
    for alert, service in TOLD.items():
        yield QUIET, alert, ""
        yield QUIET + BAD, alert, service
        yield QUIET + BAD + AFTER, alert, ""
    gone = QUIET + BAD + AFTER
    still_gone, back = gone + GONE - 2, gone + GONE
    for alert in ("DatabaseConnectionLost", "DatabaseConnectionFailureRateHigh"):
        yield gone, alert, ""
        yield still_gone, alert, "*"
        yield back + BACK, alert, ""
    yield still_gone - 2, "DatabaseHealthCheckFailing", "*"
    yield still_gone, "DatabaseConnectionRecovered", ""
    yield back + 4, "DatabaseConnectionRecovered", "*"


def text(recorded: list[tuple[str, str]]) -> str:
    """Return the file."""
    lines = [
        "# A real run, as `python -m tests.alerts.record` recorded it: not to be edited.",
        "rule_files: [../rules/*.yml]",
        "evaluation_interval: 1m",
        "",
        "tests:",
        "  - interval: 1m",
        "    input_series:",
    ]
    for name, values in recorded:
        lines += [f"      - series: '{name}'", f"        values: '{values}'"]
    lines.append("    promql_expr_test:")
    for minute, alert, service in expected():
        lines.append(f"      - eval_time: {minute}m")
        ask = f'(ALERTS{{alertname="{alert}", alertstate="firing"}})'
        lines.append(f"        expr: group by (service_name) {ask}")
        services = sorted(MISFORTUNES) if service == "*" else [service] if service else []
        lines.append("        exp_samples:" if services else "        exp_samples: []")
        for each in services:
            lines += [f"          - labels: '{{service_name=\"{each}\"}}'", "            value: 1"]
    return "\n".join(lines) + "\n"


def main(path: Path) -> None:
    """Play and record."""
    with tempfile.TemporaryDirectory() as directory, world(Path(directory)) as played:
        began: Any = time.time()
        play(played)
        path.write_text(text(list(series(played, began))))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED)

"""What goes wrong beside the databases: each told to Slack and Discord, mended, and told as ended.

Each story runs on a thread of its own, all at the same time, while the tests of the databases are
played: they have nothing in common but the servers.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from redis import Redis as RedisClient

from tests.alerts.world import STREAM, World, end, is_ready, start
from tests.services.process import wait_until

Story = Callable[[World], None]


def until(world: World, holds: Callable[[], bool]) -> None:
    """Wait for it; four looks a second, as several stories look."""
    wait_until(holds, within=240, why=world.why, every_s=0.25)


def told(world: World, title: str, *words: str) -> None:
    """Wait until Slack and Discord were sent a message with that title that says all of this."""
    until(world, lambda: world.is_told(title, *words))


def ended(world: World, alert: str, of: str = "") -> None:
    """Wait until it fires no more and both were told so."""
    asked = f'ALERTS{{alertname="{alert}", alertstate="firing", service_name="{of}"}}'
    until(world, lambda: not world.prometheus.query(asked))
    told(world, f"Ended: {alert}" + (f" in {of}" if of else ""))


def budget(world: World) -> None:
    """Every query is slow from the beginning; from some time on none is, and there are many."""
    alert, of = "DatabaseLatencyBudgetBurn", "crawls"
    world.say(of, "slow")
    for window in ("hour", "six hours"):
        told(world, f"Critical: {alert} in {of}", f"of the last {window} were slower")
    longest = f'ALERTS{{alertname="{alert}", alertstate="firing", window="3d"}}'
    until(world, lambda: bool(world.prometheus.query(longest)))
    world.say(of, "brisk")
    world.say(of, "no slow")
    told(world, f"Warning: {alert} in {of}", "of the last three days were slower")
    day = f'last_over_time(ALERTS{{alertname="{alert}", alertstate="firing", window="1d"}}[1h])'
    assert world.prometheus.query(day)  # told too where it holds longer than what is worse
    world.say(of, "hurries")
    ended(world, alert, of)
    world.say(of, "no hurries")
    world.say(of, "no brisk")


def objective(world: World) -> None:
    """An application has another objective than the rules, until it is started with theirs."""
    alert, of = "DatabaseObjectiveUnmeasured", "strays"
    told(world, f"Warning: {alert} in {of}")
    end(world.applications[of])
    start(world, of, OTEL_DBEVENTS_SLO_P95_MS="200")
    assert is_ready(world.applications[of])
    ended(world, alert, of)


def absence(world: World) -> None:
    """An application uses a second database no more, which therefore nobody checks, then again."""
    alert, of = "DatabaseHealthCheckAbsent", "crawls"
    archive = '{service_name="crawls", db_namespace=~".*archive.*"}'
    checked = f"database_health_latency_seconds_count{archive} > 1"
    world.say(of, "archive")
    until(world, lambda: bool(world.prometheus.query(checked)))
    world.say(of, "no archive")
    told(world, f"Warning: {alert} in {of}", "archive")
    world.say(of, "archive")
    ended(world, alert, of)


def fill(world: World) -> None:
    """Give the collector 1.7 MB of log records, or what it takes of them."""
    record = {"body": {"stringValue": "x" * 2000}}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 50}]}]}
    body, kind = json.dumps(logs).encode(), {"Content-Type": "application/json"}
    with suppress(HTTPError):  # it is full before that
        for _ in range(17):
            urlopen(Request(f"{world.collector.otlp_http}/v1/logs", body, kind), timeout=60).close()


def backend(world: World) -> None:
    """What the collector sends logs to is away, so that its queue fills, and then refuses them."""
    world.logs.status = 503
    try:
        fill(world)
        told(world, "Warning: TelemetryQueueFilling", "otlp_http/loki")
        world.logs.status = 400
        told(world, "Warning: TelemetryLost", "log records in ten minutes", "by otlp_http/loki")
    finally:
        world.logs.status = 200
    ended(world, "TelemetryQueueFilling")


def way(world: World) -> None:
    """What is no entry is in the stream; the collector, Redis and the sidecar are away by turns."""
    with RedisClient.from_url(world.redis.url) as client:
        client.xadd(STREAM, {"what": "is this?"})
        world.say("ships", "fails")
        told(world, "Warning: DeadLetters", "by handler tests.grafana.fussy:handle")
        told(world, "Warning: DeadLetters", "malformed")
        collector_away(world)
        redis_away(world)
        sidecar_away(world, client)
    for alert in ("SidecarGone", "SidecarCutOff", "SidecarLag", "DeadLetters", "TelemetryLost"):
        ended(world, alert)
    for alert in ("BusFilling", "TelemetryLost"):
        ended(world, alert, "ships")


def collector_away(world: World) -> None:
    world.between.shut()
    told(world, "Warning: SidecarCutOff")
    told(world, "Warning: SidecarLag")
    world.between.open()
    ended(world, "SidecarCutOff")


def redis_away(world: World) -> None:
    before = len(world.slack("Warning: SidecarCutOff"))
    world.redis.process.kill()
    told(world, "Warning: BusFilling in ships")
    told(world, "Warning: TelemetryLost in ships", "queue_full")
    until(world, lambda: len(world.slack("Warning: SidecarCutOff")) > before)
    world.redis.process.start()


def sidecar_away(world: World, client: "RedisClient") -> None:
    """Meanwhile entries are taken out of the stream that nobody has read."""
    ended(world, "SidecarCutOff")
    world.sidecar.process.stop()
    length = client.xlen(STREAM)
    told(world, "Warning: SidecarGone")
    until(world, lambda: client.xlen(STREAM) > length + 30)
    entries = client.xrange(STREAM)[-25:-5]
    client.xdel(STREAM, *(entry for entry, _ in entries))
    time.sleep(0.5)
    world.sidecar.process.start()
    told(world, "Warning: TelemetryLost", "gap")


STORIES: dict[str, Story] = {
    "budget": budget,
    "objective": objective,
    "absence": absence,
    "backend": backend,
    "way": way,
}

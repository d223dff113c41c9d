"""Faults, with real processes: each query's span arrives, is one span, and is counted once."""

import signal
import time
from pathlib import Path

from tests.demo.receiver import receiving
from tests.services.process import free_ports, wait_until
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.sidecar.running import (
    APPLICATION,
    application,
    counted,
    finished,
    query_spans,
    settings,
    sidecar,
)

SLOWLY = APPLICATION.replace("import sys\n", "import sys, time\n").replace(
    '.all()\nprint("made"', '.all()\n    time.sleep(0.002)\nprint("made"'
)
"""Takes a while, so that something may happen meanwhile."""


def test_a_collector_that_comes_late_gets_everything(redis: Redis, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told = settings(redis, redis.stream(), f"http://127.0.0.1:{port}")
    with sidecar(tmp_path, told) as running:
        finished(application(told, 200))
        wait_until(lambda: running.numbers()["export_retries_total"] > 0, 20)
        status, why = running.get("/readyz")
        assert status == 503
        assert "the collector does not take traces" in why
        assert running.get("/healthz")[0] == 200
        with receiving(port=port) as receiver:
            wait_until(lambda: len(query_spans(receiver)) == 200, 30)
            wait_until(lambda: running.numbers()["lag_entries"] == 0, 20)
            assert running.get("/readyz")[0] == 200
            assert counted(receiver) == 200
    assert running.process.exit_status == 0


def test_a_sidecar_that_is_killed_leaves_all_to_the_next(redis: Redis, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told = settings(redis, redis.stream(), f"http://127.0.0.1:{port}")
    started = application(told, 600, SLOWLY)
    with sidecar(tmp_path, told, name="first") as first:
        # Nobody takes what it has read: it is in its hands.
        wait_until(lambda: first.numbers()["events_read_total"] > 0, 20)
        wait_until(lambda: first.numbers()["export_retries_total"] > 0, 20)
        first.process.kill()
    with receiving(port=port) as receiver:
        with sidecar(tmp_path, told, "--claim-after", "0.5", name="second") as second:
            finished(started)
            wait_until(lambda: len(query_spans(receiver)) == 600, 30)
            wait_until(lambda: counted(receiver) == 600, 30)
            wait_until(lambda: second.numbers()["lag_entries"] == 0, 20)
            assert not [name for name in second.numbers() if "lost" in name]
            second.process.kill()  # in the middle of nothing: all was taken
        with sidecar(tmp_path, told, "--claim-after", "0", name="third") as third:
            wait_until(lambda: third.get("/readyz")[0] == 200, 20)
            wait_until(lambda: third.numbers()["redis_up"] == 1, 20)
            time.sleep(0.3)
            assert third.numbers()["events_read_total"] == 0
        assert set(query_spans(receiver).values()) == {1}
        assert counted(receiver) == 600


def test_a_redis_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "redis"
    directory.mkdir()
    with run_redis(directory, {"appendfsync": "always"}) as server, receiving() as receiver:
        told = settings(server, "events", receiver.endpoint)
        with sidecar(tmp_path, told) as running:
            started = application(told, 600, SLOWLY)
            for _ in range(2):
                before = running.numbers()["events_handled_total"]
                wait_until(
                    lambda before=before: running.numbers()["events_handled_total"] > before, 20
                )
                server.process.kill()
                wait_until(lambda: running.get("/readyz")[0] == 503, 20)
                server.process.start()
            finished(started)
            wait_until(lambda: len(query_spans(receiver)) == 600, 30)
            wait_until(lambda: counted(receiver) == 600, 20)
            wait_until(lambda: running.numbers()["lag_entries"] == 0, 20)
            assert not [name for name in running.numbers() if "lost" in name]
            assert set(query_spans(receiver).values()) == {1}
        assert "cannot be reached" in running.process.log.read_text()


def test_a_signal_ends_it_in_time_and_what_was_not_sent_stays(redis: Redis, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told = settings(redis, redis.stream(), f"http://127.0.0.1:{port}")
    finished(application(told, 50))
    with sidecar(tmp_path, told, "--deadline", "2", name="first") as first:
        wait_until(lambda: first.numbers()["export_retries_total"] > 0, 20)
        began = time.monotonic()
        first.process.stop(signal.SIGINT)
        assert first.process.exit_status == 0
        assert time.monotonic() - began < 15  # it would be killed after twenty
    with receiving(port=port) as receiver:
        with sidecar(tmp_path, told, "--claim-after", "0.1", name="second"):
            wait_until(lambda: len(query_spans(receiver)) == 50, 20)
            wait_until(lambda: counted(receiver) == 50, 20)
        assert set(query_spans(receiver).values()) == {1}

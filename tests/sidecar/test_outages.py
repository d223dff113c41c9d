"""Faults, with real processes: each query's span arrives, is one span, and is counted once."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.receiver import receiving
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.sidecar.running import (
    SOON_S,
    Shop,
    came,
    counted,
    query_spans,
    settings,
    sidecar,
)

pytestmark = pytest.mark.newest


@pytest.mark.beside
def test_a_collector_that_comes_late_gets_everything_from_two_that_share_it(
    redis: Redis, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    stream = redis.stream()
    told, shop = settings(redis, stream, f"http://127.0.0.1:{port}", SOON_S), Shop(redis, stream)
    with (
        sidecar(tmp_path, told, name="one") as one,
        sidecar(tmp_path, told, name="other") as other,
    ):
        both = (one, other)
        while not all(each.numbers()["events_read_total"] for each in both):
            shop.run(100, 0.001)
        shop.end()
        for each in both:
            wait_until(lambda each=each: each.numbers()["export_retries_total"] > 0)
            wait_until(lambda each=each: each.numbers()["lag_seconds"] > 1.5)  # it grows
        assert "SDK_DISABLED" not in one.process.log.read_text()  # as it would tell nothing then
        status, why = one.get("/readyz")
        assert status == 503
        assert "the collector does not take traces" in why
        assert one.get("/healthz")[0] == 200
        with receiving(port=port) as receiver:
            wait_until(lambda: len(query_spans(receiver)) == shop.made)
            wait_until(lambda: one.numbers()["lag_entries"] == 0)
            wait_until(lambda: counted(receiver) == shop.made)
            assert came(receiver)

            def handled() -> list[float]:
                return [each.numbers()["events_handled_total"] for each in both]

            wait_until(lambda: sum(handled()) == shop.made)
            assert all(handled())
            assert one.get("/readyz")[0] == 200
    assert [each.process.exit_status for each in both] == [0, 0]


def test_what_is_said_of_redis_is_true_while_the_collector_is_away_too(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with run_redis(tmp_path) as redis:
        stream = redis.stream()
        told, shop = (
            settings(redis, stream, f"http://127.0.0.1:{port}", SOON_S),
            Shop(redis, stream),
        )
        shop.run(50)
        with sidecar(tmp_path, told, "--deadline", "0.1") as one:
            wait_until(lambda: one.numbers()["export_retries_total"] > 0)
            for up, act in ((0, redis.process.kill), (1, redis.process.start)):
                act()
                wait_until(lambda up=up: one.numbers()["redis_up"] == up)
            assert one.numbers()["collector_up"] == 0
        shop.end()


@pytest.mark.beside
def test_a_sidecar_that_ends_or_is_killed_twice_leaves_what_it_holds_to_the_next(
    redis: Redis, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    stream = redis.stream()
    told, shop = settings(redis, stream, f"http://127.0.0.1:{port}", SOON_S), Shop(redis, stream)
    shop.run(50)
    shopping = aside(lambda: shop.run(2_000, 0.001))
    with sidecar(tmp_path, told, "--deadline", "2", name="first") as first:
        # Nobody takes what it has read: it is in its hands.
        wait_until(lambda: first.numbers()["export_retries_total"] > 0)
        first.process.stop(signal.SIGINT)  # and is killed after twenty seconds
        assert first.process.exit_status == 0
    with sidecar(tmp_path, told, "--claim-after", "0.1", name="second") as second:
        for _ in range(2):
            second.process.start()  # where it does not run
            wait_until(lambda: second.numbers()["export_retries_total"] > 0)
            wait_until(lambda: second.numbers()["held_entries"] > 0)
            second.process.kill()
    with receiving(port=port) as receiver:
        with sidecar(tmp_path, told, "--claim-after", "0.1", name="third") as third:
            shopping.join()
            shop.end()
            wait_until(lambda: len(query_spans(receiver)) == shop.made)
            wait_until(lambda: counted(receiver) == shop.made)
            wait_until(lambda: third.numbers()["lag_entries"] == 0)
            assert not [name for name in third.numbers() if "lost" in name]
        assert came(receiver)
        assert counted(receiver) == shop.made


def test_a_sidecar_that_stood_still_leaves_what_was_taken_over(
    redis: Redis, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    stream = redis.stream()
    told, shop = settings(redis, stream, f"http://127.0.0.1:{port}", SOON_S), Shop(redis, stream)
    shop.run(100)
    with sidecar(tmp_path, told, "--claim-after", "1", name="still") as still:
        wait_until(lambda: still.numbers()["export_retries_total"] > 0)
        still.process.send(signal.SIGSTOP)
        try:
            with receiving(port=port) as receiver:
                with sidecar(tmp_path, told, "--claim-after", "1", name="heir"):
                    wait_until(lambda: len(query_spans(receiver)) == 100)
                    wait_until(lambda: counted(receiver) == 100)
                still.process.send(signal.SIGCONT)
                shop.run(10)
                shop.end()
                wait_until(lambda: len(query_spans(receiver)) == 110)
                wait_until(lambda: counted(receiver) == 110)
                wait_until(lambda: still.numbers()["lag_entries"] == 0)
                assert came(receiver)
        finally:
            still.process.send(signal.SIGCONT)


@pytest.mark.swallows(sometimes=True)  # where the application ships in that moment
def test_a_redis_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "redis"
    directory.mkdir()
    with run_redis(directory, {"appendfsync": "always"}) as server, receiving() as receiver:
        told = settings(server, "events", receiver.endpoint)
        with sidecar(tmp_path, told) as running:
            shop, enough = Shop(server, "events"), threading.Event()
            shopping = aside(lambda: [shop.run(1, 0.001) for _ in iter(enough.is_set, True)])
            for _ in range(2):
                before = running.numbers()["events_handled_total"]
                wait_until(lambda before=before: running.numbers()["events_handled_total"] > before)
                server.process.kill()
                wait_until(lambda: running.get("/readyz")[0] == 503)
                wait_until(lambda: bool(shop.sender.trouble))
                server.process.start()
            enough.set()
            shopping.join()
            shop.end()
            wait_until(lambda: len(query_spans(receiver)) == shop.made)
            wait_until(lambda: counted(receiver) == shop.made)
            wait_until(lambda: running.numbers()["lag_entries"] == 0)
            assert not [name for name in running.numbers() if "lost" in name]
            assert came(receiver)
        said = running.process.log.read_text()
        assert "cannot be reached" in said
        assert "Redis answers again, after" in said


def aside(work: Callable[[], object]) -> threading.Thread:
    """Do it on another thread, which is to be joined."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread

"""Limits: what is not told is counted, to the event, and nothing is limited where none is set."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from otel_dbevents import Config, ConfigError
from otel_dbevents.bus.limiter import Limiter
from otel_dbevents.events import Event
from tests.bus.contract import PATIENCE, checked, failed
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.test_shipping import KEY, Application, arrived

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def numbers(limiter: Limiter, events: Sequence[Event]) -> tuple[int, int]:
    told, limited = limiter.split([(event, None) for event in events])
    return len(told), len(limited)


def test_a_burst_of_a_second_passes_and_then_the_rate() -> None:
    clock = Clock()
    limiter = Limiter({"DatabaseConnectionFailed": 10}, clock)
    assert numbers(limiter, [failed(n) for n in range(25)]) == (10, 15)
    clock.now += 0.5
    assert numbers(limiter, [failed(n) for n in range(25)]) == (5, 20)
    clock.now += 3600
    assert numbers(limiter, [failed(n) for n in range(25)]) == (10, 15)
    clock.now -= 60  # a clock that jumps gives nothing and takes nothing
    assert numbers(limiter, [failed(1)]) == (0, 1)
    assert limiter.limited == {"DatabaseConnectionFailed": 51}


def test_each_type_has_a_bucket_of_its_own() -> None:
    limiter = Limiter({"*": 3, "DatabaseConnectionFailed": 1}, Clock())
    batch = [event for n in range(5) for event in (failed(n), checked(n))]
    assert numbers(limiter, batch) == (4, 6)
    assert limiter.limited == {
        "DatabaseConnectionFailed": 4,
        "DatabaseHealthCheckCompleted": 2,
    }
    one_is_named = Limiter({"DatabaseConnectionFailed": 1}, Clock())
    assert numbers(one_is_named, batch) == (6, 4)


def test_a_rate_below_one_lets_one_pass_now_and_then() -> None:
    clock = Clock()
    limiter = Limiter({"*": 0.5}, clock)
    assert numbers(limiter, [failed(1), failed(2)]) == (1, 1)
    clock.now += 2
    assert numbers(limiter, [failed(1), failed(2)]) == (1, 1)


@pytest.mark.parametrize("given", ["QueryExecuted", "Query=1/s", "*=0", "*=x/s", "*=-1", "*=nan"])
def test_a_wrong_rate_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigError, match=r"rate_limit takes events a second .*QueryExecuted=5000"):
        Config(rate_limit=given)


def test_rates_are_read() -> None:
    assert Config(rate_limit="QueryExecuted=5000/s, *=0.5").rates() == {
        "QueryExecuted": 5000,
        "*": 0.5,
    }
    assert Config().rates() == {}


@pytest.fixture
def limited(redis: Redis) -> Iterator[Application]:
    made = Application(
        bus_url=redis.url,
        stream=redis.stream(),
        signing_key=KEY,
        rate_limit="QueryExecuted=0.001",
    )
    yield made
    made.pipeline.close(PATIENCE)


def queries(points: Any) -> int:
    return sum(p.count for p in points if p.attributes.get("db.query.summary") == "SELECT")


def test_in_the_process_what_is_limited_has_no_span_and_is_measured() -> None:
    shop = Application(rate_limit="QueryExecuted=0.001", fold_after=0)
    shop.query(20)
    assert shop.pipeline.flush(PATIENCE)
    spans = [span for span in shop.spans.get_finished_spans() if span.name == "SELECT"]
    assert len(spans) == 1
    metrics = shop.metrics()
    assert queries(metrics["db.client.operation.duration"]) == 20
    [point] = metrics["dbevents.events.limited"]
    assert (point.value, dict(point.attributes)) == (19, {"dbevents.event.type": "QueryExecuted"})
    assert "dbevents.bus.waiting" not in metrics
    shop.pipeline.close(PATIENCE)


def test_what_is_limited_is_not_shipped_and_is_measured_here(limited: Application) -> None:
    limited.query(20)
    assert limited.pipeline.flush(PATIENCE)
    told = [
        event
        for held in arrived(limited)
        for event in held.events
        if event.event_type == "QueryExecuted"
    ]
    metrics = limited.metrics()
    assert len(told) == 1
    assert queries(metrics["db.client.operation.duration"]) == 19
    [point] = metrics["dbevents.events.limited"]
    assert point.value == 19


def test_without_a_limit_there_is_no_such_metric() -> None:
    shop = Application()
    shop.query(3)
    assert shop.pipeline.flush(PATIENCE)
    assert not [name for name in shop.metrics() if "limited" in name or "dbevents.bus" in name]
    shop.pipeline.close(PATIENCE)


@pytest.mark.swallows
def test_beyond_so_many_bytes_the_oldest_give_way_and_are_counted() -> None:
    (port,) = free_ports(1)
    shop = Application(bus_url=f"redis://127.0.0.1:{port}/0", buffer_bytes=5_000)
    assert shop.pipeline.sender is not None
    for number in range(3_000):
        shop.pipeline.bus.publish(checked(number))

    def waits() -> int:
        found = shop.metrics().get("dbevents.bus.waiting")
        return found[0].value if found else 0

    wait_until(lambda: shop.pipeline.lost().get("queue_full", 0) > 0 and 0 < waits() < 200, 30)
    metrics = shop.metrics()
    assert metrics["dbevents.bus.capacity"][0].value == 20_000
    assert metrics["dbevents.bus.blocked"][0].value > 0
    assert shop.pipeline.close(0.5) is False
    wait_until(lambda: sum(shop.pipeline.lost().values()) == 3_000, 30)

"""The sidecar's work on a real Redis, with exporters that keep what they are given."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import QueryExecuted
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from tests.bus.contract import PATIENCE
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.running import DATABASE, KEY, STATEMENT, Shop


class Keeper:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def export(self, batch: Any, **_: Any) -> SpanExportResult:
        self.batches.append(batch)
        return SpanExportResult.SUCCESS

    def shutdown(self, **_: Any) -> None: ...


class Running:
    """The work on a thread, and what came of it."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self.spans, self.numbers = Keeper(), Keeper()
        outlets = Outlets({"traces": [self.spans], "metrics": [self.numbers]})
        self.outlets = outlets
        reader = Reader(redis.url, stream, "sidecar", keys=Keyring(KEY))
        self.work = Work(reader, Tellers("test", (None, None), None), outlets, redis.url)
        self._thread = threading.Thread(target=self.work.run)
        self._thread.start()

    def names(self) -> Counter[str]:
        """Return how many spans each service has."""
        spans: list[ReadableSpan] = [span for batch in self.spans.batches for span in batch]
        return Counter(str(span.resource.attributes["service.name"]) for span in spans)

    def lost(self) -> dict[str, int]:
        """Return the last value of each reason, as the producers' own metrics tell it."""
        found: dict[str, int] = {}
        batches: list[MetricsData] = self.numbers.batches
        for resource in (each for batch in batches for each in batch.resource_metrics):
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "dbevents.events.lost":
                        for point in metric.data.data_points:
                            assert resource.resource.attributes["service.name"] == "shop"
                            said: Any = point
                            found[said.attributes["dbevents.lost.reason"]] = said.value
        return found

    def end(self) -> None:
        self.work.stop(PATIENCE)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.outlets.close()


@pytest.fixture
def stream(redis: Redis) -> str:
    return redis.stream()


@pytest.fixture
def running(redis: Redis, stream: str) -> Iterator[Running]:
    made = Running(redis, stream)
    yield made
    made.end()


def test_what_never_came_is_told_as_the_producers_own_loss(redis: Redis, stream: str) -> None:
    shop, client = Shop(redis, stream), connect(redis.url)
    for _ in range(3):
        shop.run(10)
        assert shop.bus.flush(PATIENCE)
    client.xdel(stream, client.xrange(stream)[1][0])
    client.close()
    shop.end()
    running = Running(redis, stream)
    wait_until(lambda: running.lost() != {}, 20)
    running.end()
    assert running.lost() == {"gap": 10}
    assert running.names() == {"shop": 20}
    assert running.work.counts.handled + running.lost()["gap"] == shop.made


def test_a_producer_that_cannot_be_read_is_told_under_an_unknown_name(
    redis: Redis, stream: str, running: Running
) -> None:
    for source in (b"", b"\xc1", b"\x90"):
        sender = Sender(redis.url, stream, source=lambda source=source: source, keys=Keyring(KEY))
        sender.consume([(QueryExecuted(DATABASE, None, 1, 1, STATEMENT), None)])
        assert sender.finish(PATIENCE)
    wait_until(lambda: running.work.counts.handled == 3, 20)
    assert running.names() == {"unknown_service": 3}


@pytest.mark.swallows
def test_a_key_that_is_no_stream_is_said_and_waited_out(redis: Redis, stream: str) -> None:
    client = connect(redis.url)
    client.set(stream, "no stream")
    running = Running(redis, stream)
    wait_until(lambda: "the key is no stream" in running.work.state.redis, 20)
    client.delete(stream)
    client.close()
    wait_until(lambda: running.work.state.redis == "", 20)
    running.end()

"""Whether the collector would take something is asked before there is anything, and while idle."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.exporters.otlp_grpc import GrpcSpanExporter
from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from otel_dbevents.exporters.outlets import exporters_by_signal
from otel_dbevents.sidecar import asking
from otel_dbevents.sidecar.asking import Asking
from otel_dbevents.sidecar.looks import Looks
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.parcel import Parcel
from otel_dbevents.sidecar.tellers import Made, Tellers
from otel_dbevents.sidecar.work import Work
from tests.bus.contract import checked
from tests.demo.receiver import receiving
from tests.services.collector import Collector as RealCollector
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.test_parcel import Collector, over_grpc, over_http, spans


class Picky(Collector):
    """Answers `empty` to a request that has nothing in it, and 200 to others."""

    empty = 200

    def take(self, body: bytes) -> int:
        if not body and self.empty != 200:
            self.sizes.append(0)
            return self.empty
        return super().take(body)


class Way:
    """A collector, and who asks it."""

    def __init__(self, collector: Picky, exporter: Any) -> None:
        self.collector = collector
        self.outlets = Outlets({"traces": [exporter]})
        self.asking = Asking(self.outlets, 30.0)

    def asked(self) -> str:
        return self.asking.ask()

    def send(self) -> None:
        assert Parcel(Made(spans=spans("a")), self.outlets).send()


@pytest.fixture(params=[over_http, over_grpc])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.setattr(asking, "_WITHIN_S", 60.0)  # it is there, and this machine may be slow
    collector = Picky()
    with request.param(collector) as exporter:
        made = Way(collector, exporter)
        yield made
        made.outlets.abort()
        made.outlets.close()


def test_a_collector_is_asked_with_an_empty_request_as_all_else_is_sent(way: Way) -> None:
    assert way.asked() == ""
    assert way.collector.sizes == [0]
    way.send()
    assert way.collector.names == ["a"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_one_that_is_not_there_would_take_nothing(scheme: str) -> None:
    (port,) = free_ports(1)
    exporter: Any = (
        HttpSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces", timeout=0.5)
        if scheme == "http"
        else GrpcSpanExporter(endpoint=f"127.0.0.1:{port}", insecure=True, timeout=0.5)
    )
    outlets = Outlets({"traces": [exporter]})
    asks = Asking(outlets, 30.0)
    assert asks.is_due
    assert asks.ask() == "traces"
    assert not asks.is_due
    outlets.abort()
    outlets.close()


def test_one_that_refuses_an_empty_request_for_good_is_there(way: Way) -> None:
    way.collector.empty = 400
    assert way.asked() == ""
    way.send()
    assert way.asked() == ""


def test_one_that_knows_us_not_is_believed_but_where_it_refuses_empty_requests_alone(
    way: Way,
) -> None:
    way.collector.empty = 401
    assert way.asked() == "traces"
    way.send()
    assert way.asked() == ""  # as it took telemetry, and never an empty request
    way.collector.empty = 200
    assert way.asked() == ""
    way.collector.empty = 401
    assert way.asked() == "traces"  # our password was taken away


def test_one_that_has_too_much_to_do_takes_nothing_now_whatever_it_took(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    way.send()
    monkeypatch.setattr(asking, "_WITHIN_S", 1.0)
    way.collector.empty = 503
    assert way.asked() == "traces"
    assert way.outlets.code in ("503", "UNAVAILABLE")


def test_an_answer_is_not_waited_for_as_long_as_one_to_telemetry(way: Way) -> None:
    [(_, exporter)] = way.outlets.askable
    holder = exporter if hasattr(exporter, "_timeout") else exporter._client
    usual = holder._timeout
    with way.outlets._listening[id(exporter)].hurried(usual / 2):
        assert holder._timeout == usual / 2
    with way.outlets._listening[id(exporter)].hurried(usual * 2):
        assert holder._timeout == usual
    assert holder._timeout == usual


def test_whose_answers_nobody_hears_is_not_asked() -> None:
    outlets = Outlets({"traces": [ConsoleSpanExporter()]})
    assert not Asking(outlets, 30.0)
    assert not Asking(outlets, 30.0).is_due
    outlets.close()


def test_a_sidecar_is_ready_when_its_collector_is_there_though_nothing_was_sent(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_WITHIN_S", 0.5)
    (port,) = free_ports(1)
    there = f"http://127.0.0.1:{port}/v1"
    traces = HttpSpanExporter(endpoint=f"{there}/traces", timeout=60)
    metrics = OTLPMetricExporter(endpoint=f"{there}/metrics", timeout=60)
    outlets = Outlets({"traces": [traces], "metrics": [metrics]})
    reader = Reader(redis.url, redis.stream(), "sidecar")
    work = Work(reader, Tellers("n", (None, None), None), outlets, redis.url, ask_every_s=0.1)
    looks = Looks(work, "127.0.0.1", 0)
    assert "the collector has not answered yet" in looks.answer("/readyz")[1]
    thread = threading.Thread(target=work.run)
    thread.start()
    sender = Sender(redis.url, reader.stream)
    try:
        away = (503, "the collector does not take traces\n")
        wait_until(lambda: looks.answer("/readyz") == away)
        with receiving(port=port) as receiver:
            wait_until(lambda: looks.answer("/readyz") == (200, "ok\n"))
            assert receiver.spans == []
            receiver.status = 503  # it is asked on, while there is nothing
            busy = (503, "the collector does not take traces (503)\n")
            wait_until(lambda: looks.answer("/readyz") == busy)
            receiver.status = 200
            wait_until(lambda: looks.answer("/readyz") == (200, "ok\n"))
            sender.consume([(checked(1), None)])
            wait_until(lambda: work.counts.handled == 1)
        assert work.state.retries == 0  # nothing was sent again
    finally:
        work.stop(5)
        thread.join(60)
        looks.server_close()
        sender.finish(1)
        outlets.abort()
        outlets.close()


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_real_collector_takes_an_empty_request_of_each_signal(
    collector: RealCollector, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    there = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    outlets = Outlets(exporters_by_signal())
    assert [signal for signal, _ in outlets.askable] == ["traces", "metrics", "logs"]
    assert all(outlets.ask(signal, exporter, 60.0) for signal, exporter in outlets.askable)
    outlets.abort()
    outlets.close()


@pytest.mark.e2e
def test_the_real_collector_gets_in_parts_what_is_too_large_for_it(
    collector: RealCollector,
) -> None:
    exporter = GrpcSpanExporter(endpoint=collector.otlp_grpc, insecure=True)
    outlets = Outlets({"traces": [exporter]})
    parcel = Parcel(Made(spans=spans(*(f"{number:0>10000}" for number in range(512)))), outlets)
    assert parcel.send()
    assert (parcel.taken, parcel.refused) == ({"traces": 512}, {})
    assert outlets.most(exporter) < 512
    outlets.abort()
    outlets.close()

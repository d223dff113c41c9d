"""The providers: the application's own, or the standard ones; and the end of the process."""

import logging
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import opentelemetry._logs._internal as logs_api
import opentelemetry.metrics._internal as metrics_api
import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk import environment_variables
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from otel_dbevents import exporters, unreachable
from otel_dbevents.ending import Ending
from otel_dbevents.exporters import (
    SetupError,
    ensure_providers,
    exporter_names,
    providers,
    sdk_disabled,
    setup,
)
from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from otel_dbevents.exporters.stages import exporters_of
from tests.demo.receiver import receiving
from tests.services.process import wait_until

DEAD = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Make the process look as if nobody had set a provider, and put everything back."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for module, kind, proxy in (
        (trace, "TRACER", trace.ProxyTracerProvider),
        (metrics_api, "METER", metrics_api._ProxyMeterProvider),
        (logs_api, "LOGGER", logs_api.ProxyLoggerProvider),
    ):
        monkeypatch.setattr(module, f"_{kind}_PROVIDER", None)
        monkeypatch.setattr(module, f"_{kind}_PROVIDER_SET_ONCE", Once())
        monkeypatch.setattr(module, f"_PROXY_{kind}_PROVIDER", proxy())
    old_events = sys.modules.get("opentelemetry._events")  # gone since SDK 1.44
    if old_events is not None:
        monkeypatch.setattr(old_events, "_EVENT_LOGGER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(providers, "_made", None)
    monkeypatch.setattr(unreachable._one_line, "_said", {})
    yield
    if providers._made is not None:
        providers._made.shutdown(0)
        assert all(closer.wait(30) for closer in providers._made._closers)
        providers.atexit.unregister(providers._made.shutdown)
    unreachable.say_all()


@pytest.fixture
def no_exporters(monkeypatch):
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")


def lines(caplog):
    """Return what was said, but for what an exporter of an earlier test says as it ends."""
    late = "Shutdown in progress"
    return [message for message in caplog.messages if not message.startswith(late)]


def classes(providers):
    processors = providers.tracer._active_span_processor._span_processors
    return [type(processor.span_exporter).__module__ for processor in processors]


def test_where_there_is_none_all_three_are_set_up_and_are_ours(no_exporters):
    providers = ensure_providers()
    assert providers.ours == {"tracer", "meter", "logger"}
    assert providers.tracer is trace.get_tracer_provider()
    assert providers.meter is metrics.get_meter_provider()
    assert providers.logger is _logs.get_logger_provider()
    assert isinstance(providers.tracer, TracerProvider)
    assert isinstance(providers.meter, MeterProvider)
    assert isinstance(providers.logger, LoggerProvider)


@pytest.mark.parametrize("some", [True, False])
def test_the_processors_that_are_set_up_count_what_they_lose(monkeypatch, some):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "600")
    if some:
        metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    providers = ensure_providers()
    [spans] = providers.tracer._active_span_processor._span_processors
    [records] = providers.logger._multi_log_record_processor._log_record_processors
    assert isinstance(spans, CountingSpanProcessor)
    assert isinstance(records, CountingLogRecordProcessor)
    for _ in range(700):
        providers.tracer.get_tracer("test").start_span("a").end()
    spans.give_up()
    assert sum(spans.lost.values()) == 700
    assert exporters.lost(providers.tracer, providers.meter, providers.logger) == {
        f"span_{reason}": number for reason, number in spans.lost.items()
    }


def test_an_exporter_that_the_end_closes_while_it_sends_fails_and_raises_nothing(monkeypatch):
    """As it looked whether it was shut down before; the SDK would log that with its traceback."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    made = ensure_providers()
    for provider, nothing in ((made.tracer, []), (made.meter, MetricsData([])), (made.logger, [])):
        [exporter] = exporters_of(provider)
        exporter._shutdown_in_progress.set()
        exporter._channel.close()
        assert exporter.export(nothing).name == "FAILURE"


def test_asked_again_it_gives_the_same(no_exporters):
    assert ensure_providers() is ensure_providers()


def test_the_applications_own_providers_are_used_and_never_shut_down():
    own = TracerProvider(shutdown_on_exit=False), MeterProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(own[0])
    metrics.set_meter_provider(own[1])
    _logs.set_logger_provider(LoggerProvider(shutdown_on_exit=False))
    providers = ensure_providers()
    assert (providers.tracer, providers.meter) == own
    assert not providers.ours
    assert providers.shutdown(0)
    assert not own[1]._shutdown


def test_only_what_is_missing_is_set_up(monkeypatch, no_exporters, caplog):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop")
    own = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(own)
    providers = ensure_providers()
    assert providers.tracer is own
    assert providers.ours == {"meter", "logger"}
    assert providers.logger.resource.attributes["service.name"] == "shop"
    assert not caplog.records


def test_a_missing_tracer_provider_takes_the_sampler_named(monkeypatch, no_exporters):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    _logs.set_logger_provider(LoggerProvider(shutdown_on_exit=False))
    providers = ensure_providers()
    assert providers.ours == {"tracer"}
    assert providers.tracer.sampler.get_description() == "AlwaysOffSampler"


@pytest.mark.parametrize(
    ("protocol", "module"),
    [("", "otlp_grpc"), ("grpc", "otlp_grpc"), ("http/protobuf", "otlp_http")],
)
def test_otlp_is_the_exporter_when_none_is_named(monkeypatch, protocol, module):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    [found] = classes(ensure_providers())
    assert found == f"otel_dbevents.exporters.{module}"
    assert "OTEL_TRACES_EXPORTER" not in os.environ


@pytest.mark.parametrize("some", [True, False])
@pytest.mark.parametrize("name", ["otlp", "otlp_proto_grpc", "otlp_proto_http"])
def test_otlp_by_any_name_is_encoded_by_us_unless_that_is_turned_off(monkeypatch, name, some):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", f"{name},console")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    if some:
        metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    ours, console = classes(ensure_providers())
    assert ours.startswith("otel_dbevents.exporters.otlp_")
    assert console == "opentelemetry.sdk.trace.export"


def test_with_direct_otlp_off_the_exporter_is_the_sdks(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    [found] = classes(ensure_providers(direct_otlp=False))
    assert found == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"


def test_where_our_encoder_cannot_even_be_imported_the_exporter_is_the_sdks(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    monkeypatch.setitem(sys.modules, "otel_dbevents.exporters.direct", None)
    [found] = classes(ensure_providers())
    assert found == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"


def test_the_exporters_named_are_taken(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert exporter_names("traces") == ["console"]
    assert exporter_names("metrics") == []
    assert exporter_names("logs") == ["otlp_proto_grpc"]


@pytest.mark.parametrize("some", [True, False])
def test_a_wrong_variable_is_one_clear_error(monkeypatch, some):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    if some:
        metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    with pytest.raises(SetupError, match=r"^OpenTelemetry could not be set up from OTEL_.*pigeon"):
        ensure_providers()


def test_everything_goes_to_the_collector_named_before_the_shutdown_ends(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        providers = ensure_providers()
        with providers.tracer.get_tracer("test").start_as_current_span("a"):
            providers.meter.get_meter("test").create_counter("c").add(1)
        assert providers.shutdown(30)
        assert [span.name for span in receiver.spans] == ["a"]
        assert receiver.metrics >= {"c"}
    assert providers.shutdown(30), "twice is harmless"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_shutdown_gives_up_in_time_and_says_one_line(monkeypatch, caplog, protocol):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    with caplog.at_level(logging.WARNING):
        providers = ensure_providers()
        providers.tracer.get_tracer("test").start_span("a").end()
        providers.meter.get_meter("test").create_counter("c").add(1)
        assert not providers.shutdown(0.5)
    [said] = lines(caplog)
    assert said.startswith("telemetry does not arrive at 127.0.0.1:1")


def test_a_collector_that_accepts_and_never_answers_is_given_up_with_one_line(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}"
        )
        providers = ensure_providers()
        providers.tracer.get_tracer("test").start_span("a").end()
        with caplog.at_level(logging.WARNING):
            assert not providers.shutdown(0.2)
    [said] = lines(caplog)
    assert said.startswith("telemetry that could not be sent within 0.2 s")


@pytest.mark.swallows
def test_a_provider_or_exporter_that_raises_does_not_keep_the_others_from_closing(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)

    def broken(*_, **__):
        raise RuntimeError("broken")

    providers = ensure_providers()
    processor = providers.tracer._active_span_processor._span_processors[0]
    abort = processor.span_exporter.shutdown
    processor.span_exporter.shutdown = broken
    providers.tracer.get_tracer("test").start_span("a").end()
    providers.logger.shutdown = broken
    assert not providers.shutdown(0.2)
    assert all(c._done.is_set() for c in providers._closers if c._provider is providers.logger)
    abort()


class Stuck:
    """An exporter of any signal that comes back from nothing until it is released."""

    _preferred_temporality = None
    _preferred_aggregation = None

    def __init__(self):
        self.released = threading.Event()

    def export(self, *_, **__):
        self.released.wait(120)

    shutdown = force_flush = export


@pytest.fixture
def stuck(monkeypatch, no_exporters):
    """Providers of ours whose exporters all hang."""
    made = Stuck()
    monkeypatch.setattr(
        setup.sdk,
        "_import_exporters",
        lambda *_: ({"x": lambda: made}, {}, {"x": lambda: made}),
    )
    yield made
    made.released.set()


def test_all_that_hangs_has_one_deadline_and_what_was_not_sent_is_counted(stuck, monkeypatch):
    made, ends = ensure_providers(timeout=60), []
    made.tracer.get_tracer("test").start_span("a").end()
    made.logger.get_logger("test").emit(_logs.LogRecord(body="b"))
    made.meter.shutdown = stuck.export
    wait_for = providers.wait_for
    monkeypatch.setattr(
        providers, "wait_for", lambda those, until: ends.append(until) or wait_for(those, until)
    )
    assert not made.shutdown(1.0)
    half, most, all_of_it = ends
    assert (half, most) == (pytest.approx(all_of_it - 0.5), pytest.approx(all_of_it - 0.2))
    lost = exporters.lost(made.tracer, made.logger)
    assert lost == {"span_shutdown": 1, "log_shutdown": 1}


def test_the_metrics_are_last_unless_the_others_take_half_of_the_time(stuck):
    providers = ensure_providers(timeout=60)
    order = []
    tracer_ends, logger_ends = threading.Event(), threading.Event()

    def shut(name, ends):
        def shutdown():
            ends.wait(60)
            order.append(name)

        return shutdown

    providers.tracer.shutdown = shut("tracer", tracer_ends)
    providers.logger.shutdown = shut("logger", logger_ends)

    def shut_the_meter():
        order.append("meter")
        logger_ends.set()

    providers.meter.shutdown = shut_the_meter
    tracer_ends.set()
    assert providers.shutdown(2)
    assert order == ["tracer", "meter", "logger"]


def test_the_clock_of_the_end_is_started_once_and_all_share_it(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("otel_dbevents.ending.monotonic", lambda: now[0])
    ending = Ending()
    assert ending.at_most(2.0) == 2.0, "the end has not begun"
    assert ending.time_left(2.0) == 2.0
    now[0] += 1.5
    assert ending.time_left(2.0) == ending.at_most(2.0) == 0.5
    assert ending.at_most(5.0) == 3.5
    now[0] += 60
    assert ending.time_left(2.0) == ending.at_most(2.0) == 0.0
    ending.renew()
    assert ending.at_most(2.0) == 2.0


def test_the_exporters_of_all_three_providers_are_found(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD)
    providers = ensure_providers()
    for provider in (providers.tracer, providers.meter, providers.logger):
        assert [hasattr(found, "shutdown") for found in exporters_of(provider)] == [True]


def test_an_exporter_that_is_not_found_is_left_alone():
    assert list(exporters_of(object())) == []
    console = SimpleNamespace(_active_span_processor=SimpleNamespace(_span_processors=(object(),)))
    assert list(exporters_of(console)) == []


FORKED = """
import os, sys
from otel_dbevents.exporters import ensure_providers
providers = ensure_providers()
child = os.fork()
if not child:
    providers.tracer.get_tracer("test").start_span("in the child").end()
    os._exit(0 if providers.shutdown(30) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_can_send_and_shut_down_too():
    with receiving() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKED], env=os.environ | variables, check=True
        )
        assert "in the child" in [span.name for span in receiver.spans]


@pytest.mark.parametrize(("value", "disabled"), [("true", True), (" TRUE ", True), ("1", False)])
def test_the_sdk_is_disabled_by_its_own_variable(monkeypatch, value, disabled):
    assert not sdk_disabled()
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert sdk_disabled() is disabled


def test_a_file_is_applied_by_the_sdks_configurator(monkeypatch):
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setattr(
        environment_variables, "OTEL_CONFIG_FILE", "OTEL_CONFIG_FILE", raising=False
    )
    asked = []
    monkeypatch.setattr(setup, "_configure", lambda **names: asked.append(names))
    assert not ensure_providers().ours
    assert asked == [{}]


def test_a_file_that_this_sdk_cannot_read_is_warned_of(monkeypatch, caplog, no_exporters):
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.delattr(environment_variables, "OTEL_CONFIG_FILE", raising=False)
    monkeypatch.setattr(setup, "_configure", lambda **_: None)
    ensure_providers()
    assert "needs a newer opentelemetry-sdk and is ignored" in caplog.text


def test_a_file_is_not_applied_beside_the_applications_own_providers(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setattr(
        environment_variables, "OTEL_CONFIG_FILE", "OTEL_CONFIG_FILE", raising=False
    )
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    assert not ensure_providers().ours
    assert "there is no logger provider and no meter provider" in caplog.text


GRPC = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
HTTP = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


def test_many_lines_of_the_exporters_become_one(caplog):
    unreachable.say_once()
    for _ in range(3):
        HTTP.warning(
            "Transient error %s encountered while exporting span batch, retrying in %.2fs.",
            "HTTPConnectionPool(host='collector', port=4318): Connection refused",
            1,
        )
    HTTP.error("Failed to export span batch due to timeout, max retries or shutdown.")
    HTTP.warning("Exporter already shutdown, ignoring batch")
    [record] = caplog.records
    assert "does not arrive at collector:4318 (Connection refused): start" in record.getMessage()


def test_another_reason_is_another_line_and_what_is_no_failure_passes(caplog):
    unreachable.say_once()
    HTTP.error("Failed to export %s batch code: %s, reason: %s", "span", 401, "Unauthorized")
    GRPC.error(
        "Failed to export %s to %s, error code: %s", "logs", "c:4317", "StatusCode.CANCELLED"
    )
    HTTP.warning("something else")
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("telemetry does not arrive (401): start")
    assert said[1].startswith("telemetry does not arrive at c:4317 (no answer): start")
    assert said[2:] == ["something else"]


def test_exporters_that_are_given_up_say_no_second_reason_of_a_place(stuck, caplog, monkeypatch):
    """One had no connection, and the next is cancelled, which says less of the same."""
    monkeypatch.setattr(GRPC, "filters", [])  # the SDK's own lets nothing through twice
    made, failed = ensure_providers(timeout=60), "Failed to export %s to %s, error code: %s"
    made.tracer.get_tracer("test").start_span("a").end()
    GRPC.error(failed, "traces", "c:4317", "StatusCode.UNAVAILABLE")
    assert not made.shutdown(0.1)
    GRPC.error(failed, "metrics", "c:4317", "StatusCode.CANCELLED")
    [record] = [each for each in caplog.records if each.name.startswith("otel_dbevents")]
    assert "does not arrive at c:4317 (UNAVAILABLE)" in record.getMessage()
    GRPC.error(failed, "logs", "d:4317", "StatusCode.CANCELLED")
    assert "does not arrive at d:4317 (no answer)" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("where", "details", "mend"),
    [
        (
            "c:4318",
            "",
            "that is no port for gRPC, as it seems: set OTEL_EXPORTER",
        ),
        ("c:80", "(Trying to connect an http1.x server)", "that is no port for gRPC"),
        ("c:4318", "Connection refused (111)", "start a collector there"),
        ("c:4317", "", "start a collector there"),
    ],
)
def test_grpc_on_a_port_for_http_is_said_to_be_that(caplog, monkeypatch, where, details, mend):
    monkeypatch.setattr(GRPC, "filters", [])  # the SDK's own lets nothing through twice
    unreachable.say_once()
    GRPC.error(
        "Failed to export %s to %s, error code: %s, error details: %s",
        "traces",
        where,
        "StatusCode.UNAVAILABLE",
        details,
    )
    assert f"does not arrive at {where} (UNAVAILABLE): {mend}" in caplog.messages[0]


def test_http_on_a_port_for_grpc_is_said_to_be_that(caplog: pytest.LogCaptureFixture) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    unreachable.say_once()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces", timeout=60)
    with ThreadPoolExecutor(1) as aside:
        aside.submit(exporter.export, [])
        wait_until(lambda: bool(caplog.messages))
        exporter.shutdown()  # tries no more
    server.stop(None)
    assert (
        "that is a port for gRPC, as it seems: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        in (caplog.messages[0])
    )


def test_a_failure_without_place_or_reason_is_said_when_nothing_was(caplog):
    unreachable.say_once()
    HTTP.error("Failed to export span batch due to timeout, max retries or shutdown.")
    assert caplog.messages[0].startswith("telemetry does not arrive: start")

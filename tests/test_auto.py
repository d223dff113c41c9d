"""Turning it on: by import, by ``opentelemetry-instrument``, and what never breaks by it.

Applications are real ones: scripts over SQLite in processes of their own, that send to a receiver
of OTLP in the test.
"""

import logging
import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ["OTEL_SDK_DISABLED"] = "true"  # in this process the import does nothing
try:
    from otel_dbevents import auto
finally:
    del os.environ["OTEL_SDK_DISABLED"]
from otel_dbevents import config, exporters, pipeline
from tests.demo.receiver import receiving

INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")

IMPORT = "import otel_dbevents.auto\n"
APPLICATION = """
from sqlalchemy import create_engine, text

engine = create_engine("sqlite://")
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE pets (name TEXT)"))
    connection.execute(text("INSERT INTO pets VALUES ('Rex')"))
    print(connection.execute(text("SELECT name FROM pets")).scalar())
"""
NAMES = {"CREATE TABLE pets", "INSERT pets", "SELECT pets"}


@pytest.fixture
def run(tmp_path):
    """Run a script with these variables, and return how it ended."""

    def run(script, *before, **variables):
        path = tmp_path / "app.py"
        path.write_text(script)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        return subprocess.run(
            [*map(str, before), sys.executable, str(path)],
            env=clean | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def to(endpoint):
    return {
        "OTEL_SERVICE_NAME": "pet-shop",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "30000",
    }


def spans(receiver):
    """Count the spans of statements by their names."""
    return Counter(span.name for span in receiver.spans if span.name in NAMES)


def test_one_import_sends_traces_metrics_and_events_by_the_standard_variables(run):
    with receiving() as receiver:
        ended = run(IMPORT + APPLICATION, **to(receiver.endpoint))
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Rex\n", "")
        assert spans(receiver) == dict.fromkeys(NAMES, 1)
        assert "db.client.operation.duration" in receiver.metrics
        assert receiver.log_events
        assert receiver.services == {"pet-shop"}


def test_imported_after_the_engine_was_made_and_twice_it_is_the_same(run):
    late = APPLICATION.replace(
        "with engine.begin",
        IMPORT + "from otel_dbevents import auto\nauto.start()\nwith engine.begin",
    )
    with receiving() as receiver:
        assert run(late, **to(receiver.endpoint)).stderr == ""
        assert spans(receiver) == dict.fromkeys(NAMES, 1)


def test_providers_of_the_application_are_used(run):
    script = """
from opentelemetry import metrics, trace, _logs
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
"""
    seen = """
provider.force_flush()
print("INSERT pets" in [span.name for span in kept.get_finished_spans()])
"""
    ended = run(
        script + IMPORT + APPLICATION + seen,
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Rex\nTrue\n", "")


@pytest.mark.parametrize("script", [APPLICATION, IMPORT + APPLICATION])
def test_opentelemetry_instrument_needs_no_import_and_does_not_mind_one(run, script):
    with receiving() as receiver:
        variables = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlalchemy"}
        ended = run(script, INSTRUMENT, **to(receiver.endpoint), **variables)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Rex\n", "")
        assert spans(receiver) == dict.fromkeys(NAMES, 1)
        assert receiver.services == {"pet-shop"}


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "dbevents,sqlalchemy,sqlite3"},
        {
            "OTEL_DBEVENTS_ENABLED": "false",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlalchemy,sqlite3",
        },
    ],
)
def test_opentelemetry_instrument_leaves_us_out_when_told(run, variables):
    with receiving() as receiver:
        ended = run(APPLICATION, INSTRUMENT, **to(receiver.endpoint), **variables)
        assert (ended.returncode, ended.stdout) == (0, "Rex\n")
        assert not receiver.spans


def test_a_wrong_setting_keeps_opentelemetry_instrument_from_nothing_else(run):
    ended = run(
        APPLICATION,
        INSTRUMENT,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_DBEVENTS_HISTORY="long",
    )
    assert (ended.returncode, ended.stdout) == (0, "Rex\n")
    assert "OTEL_DBEVENTS_HISTORY takes a whole number" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nobody_at_the_endpoint_is_one_line_and_the_application_runs_on(run, protocol):
    ended = run(
        IMPORT + APPLICATION,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_DBEVENTS_FLUSH_TIMEOUT_MS="500",
    )
    assert (ended.returncode, ended.stdout) == (0, "Rex\n")
    [line] = ended.stderr.splitlines()
    assert line.startswith("telemetry does not arrive at 127.0.0.1:1")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_DBEVENTS_SLOW_QUERY_MS": "fast"}, "OTEL_DBEVENTS_SLOW_QUERY_MS takes a number"),
        ({"OTEL_TRACES_EXPORTER": "pigeon"}, "OpenTelemetry could not be set up from OTEL_*"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, "Unsupported OTLP protocol 'smoke'"),
    ],
)
def test_a_wrong_variable_is_one_line_and_the_application_runs_on(run, variables, said):
    ended = run(IMPORT + APPLICATION, **variables)
    assert (ended.returncode, ended.stdout) == (0, "Rex\n")
    [line] = ended.stderr.splitlines()
    assert line.startswith("otel_dbevents is off, the application runs on without it: ")
    assert said in line


@pytest.mark.parametrize("missing", ["sqlalchemy", "opentelemetry.sdk", "pydantic_settings"])
def test_what_is_missing_is_one_line_and_the_application_runs_on(run, missing):
    ended = run(f"import sys\nsys.modules[{missing!r}] = None\n{IMPORT}\nprint('runs on')")
    assert (ended.returncode, ended.stdout) == (0, "runs on\n")
    [line] = ended.stderr.splitlines()
    assert line.startswith("otel_dbevents is off, the application runs on without it: ")


@pytest.mark.parametrize(
    "variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_DBEVENTS_ENABLED": "false"}]
)
def test_turned_off_nothing_happens(run, variables):
    threads = "import threading; print(threading.active_count())"
    with receiving() as receiver:
        ended = run(IMPORT + APPLICATION + threads, **to(receiver.endpoint), **variables)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Rex\n1\n", "")
        assert not receiver.requests


SET_UP = "import otel_dbevents\notel_dbevents.instrument()\n"
"""Turned on where nobody sets a provider up."""


@pytest.mark.parametrize(
    ("script", "variables", "lines"),
    [
        (SET_UP + APPLICATION, to("http://127.0.0.1:9"), 1),
        (SET_UP + APPLICATION, {"OTEL_TRACES_EXPORTER": "console"}, 1),
        (SET_UP + APPLICATION, {"OTEL_TRACES_EXPORTER": "none"}, 0),
        (SET_UP + APPLICATION, {}, 0),
        (SET_UP, to("http://127.0.0.1:9"), 0),
    ],
    ids=["endpoint", "exporter", "none", "nothing wanted", "nothing to tell"],
)
def test_who_names_a_destination_and_sets_no_provider_up_is_told_so(run, script, variables, lines):
    done = run(script, **variables)
    assert done.returncode == 0
    said = done.stderr.splitlines()
    assert len(said) == lines
    assert all("no provider" in line and "import otel_dbevents.auto" in line for line in said)


def test_what_asks_not_to_be_instrumented_is_not(run):
    suppressed = """
from opentelemetry.context import attach, detach, set_value
token = attach(set_value("suppress_instrumentation", True))
with engine.connect() as connection:
    connection.execute(text("SELECT name FROM pets"))
detach(token)
"""
    with receiving() as receiver:
        ended = run(IMPORT + APPLICATION + suppressed, **to(receiver.endpoint))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert spans(receiver)["SELECT pets"] == 1


CONTRIB_FIRST = """
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
SQLAlchemyInstrumentor().instrument()
"""
SENT_NOWHERE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


@pytest.mark.oldest
@pytest.mark.parametrize(
    "script",
    [CONTRIB_FIRST + IMPORT, IMPORT + CONTRIB_FIRST],
    ids=["contrib first", "contrib last"],
)
def test_contrib_too_is_one_warning_whichever_came_first(run, script):
    ended = run(script + APPLICATION, **SENT_NOWHERE)
    assert (ended.returncode, ended.stdout) == (0, "Rex\n")
    [line] = ended.stderr.splitlines()
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy" in line


@pytest.mark.oldest
def test_contrib_too_under_opentelemetry_instrument_is_one_warning(run):
    ended = run(APPLICATION, INSTRUMENT, **SENT_NOWHERE)
    assert (ended.returncode, ended.stdout) == (0, "Rex\n")
    assert ended.stderr.count("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy") == 1


SHOW_EXPORTER = """
from opentelemetry import trace

processors = trace.get_tracer_provider()._active_span_processor._span_processors
[processor] = [each for each in processors if hasattr(each, "span_exporter")]
trace.get_tracer("test").start_span("one").end()
print(type(processor.span_exporter).__name__)
"""
DECLARED = """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: {endpoint}/v1/traces
instrumentation/development:
  python:
    dbevents:
      {option}
"""


@pytest.mark.newest
@pytest.mark.parametrize(
    ("option", "by", "expected"),
    [
        ("slow_query_ms: 200", (), dict.fromkeys(NAMES, 1)),
        ("enabled: false", (), {}),
        ("slow_query_ms: fast", (), {}),
        ("slow_query_ms: 200", (INSTRUMENT,), dict.fromkeys(NAMES, 1)),
    ],
)
def test_a_configuration_file_sets_up_the_providers_and_our_options(
    run, tmp_path, option, by, expected
):
    with receiving() as receiver:
        path = tmp_path / "otel.yaml"
        path.write_text(DECLARED.format(endpoint=receiver.endpoint, option=option))
        ended = run(IMPORT + APPLICATION, *by, OTEL_CONFIG_FILE=str(path))
        assert (ended.returncode, ended.stdout) == (0, "Rex\n")
        assert spans(receiver) == expected
        assert ("slow_query_ms takes a number" in ended.stderr) is ("fast" in option)


@pytest.mark.newest
def test_an_exporter_of_a_configuration_file_is_encoded_by_us_too(run, tmp_path):
    with receiving() as receiver:
        path = tmp_path / "otel.yaml"
        path.write_text(DECLARED.format(endpoint=receiver.endpoint, option="history: 1"))
        ended = run(IMPORT + SHOW_EXPORTER, OTEL_CONFIG_FILE=str(path))
        assert (ended.returncode, ended.stdout) == (0, "HttpSpanExporter\n"), ended.stderr
        assert [span.name for span in receiver.spans] == ["one"]


@pytest.fixture
def calls(monkeypatch):
    """Note what would be turned on in this process."""
    found = []
    monkeypatch.setattr(pipeline, "instrument", lambda *args, **kw: found.append((*args, kw)))
    monkeypatch.setattr(pipeline, "uninstrument", lambda: found.append("off"))
    monkeypatch.setattr(
        exporters, "ensure_providers", lambda *args, **kw: found.append((*args, kw))
    )
    return found


def test_start_sets_up_the_providers_and_then_listens(calls, monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_FLUSH_TIMEOUT_MS", "250")
    monkeypatch.setenv("OTEL_DBEVENTS_DIRECT_OTLP", "false")
    assert auto.start()
    providers, (options,) = calls
    assert providers == (0.25, {"direct_otlp": False})
    assert options["config"] == config.Config()


def test_start_stays_off_when_told(calls, monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_ENABLED", "false")
    assert not auto.start()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not auto.start()
    assert not calls


def test_start_says_any_failure_in_one_line(monkeypatch, caplog):
    def fail():
        raise RuntimeError

    monkeypatch.setattr(auto, "check_versions", fail)
    assert not auto.start()
    said = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert [record.levelname for record in said] == ["ERROR"]
    assert caplog.messages[0].endswith("without it: RuntimeError")


def test_options_of_a_configuration_file_are_taken(calls, monkeypatch):
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", None)
    assert auto._declared() == {}
    python = SimpleNamespace(python={"dbevents": {"flush_timeout_ms": 100}})
    model = SimpleNamespace(instrumentation_development=python)
    reader = SimpleNamespace(load_config_file=lambda _: model)
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", reader)
    assert auto.start()
    assert calls[0] == (0.1, {"direct_otlp": True})


@pytest.fixture
def instrumentor():
    module = import_module("otel_dbevents.instrumentor")
    return module.DbEventsInstrumentor()


def test_the_entry_point_turns_on_and_off(calls, instrumentor):
    assert instrumentor.instrumentation_dependencies() == ("sqlalchemy >= 2.0.10",)
    instrumentor.instrument(
        engine="an engine", tracer_provider="t", slow_query_ms=7, span_filter=all, request_hook=any
    )
    instrumentor.uninstrument()
    (engine, given), off = calls
    assert (engine, off) == ("an engine", "off")
    assert (given["tracer_provider"], given["config"].slow_query_ms) == ("t", 7)
    assert (given["span_filter"], given["request_hook"], given["engine_filter"]) == (all, any, None)


def test_the_entry_point_takes_all_that_instrument_takes(instrumentor):
    module = import_module("otel_dbevents.instrumentor")
    parameters = set(signature(pipeline.instrument).parameters)
    assert parameters == {"engine", "config", *module._ARGUMENTS}


def test_the_entry_point_takes_a_config_but_not_settings_beside_it(calls, instrumentor, caplog):
    own = config.Config()
    instrumentor._instrument(config=own)
    assert calls[0][1]["config"] is own
    instrumentor._instrument(config=own, spans=False)
    assert len(calls) == 1
    assert "give either config or spans, not both" in caplog.text


def test_the_entry_point_stays_off_when_told(calls, instrumentor):
    instrumentor._instrument(enabled=False)
    assert not calls

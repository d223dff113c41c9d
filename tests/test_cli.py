"""The command: what it says, what it never says, and its exit status."""

import json
import os
import runpy
import socket
import subprocess
import sys
from concurrent import futures
from threading import Event

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

import otel_dbevents.demo
from otel_dbevents import check, cli
from otel_dbevents.check import Finding, examine, report
from otel_dbevents.check.report import short, within
from otel_dbevents.check.telemetry import SIGNALS, address, mend_port
from otel_dbevents.cli import main
from otel_dbevents.config import Config
from otel_dbevents.health import desk
from otel_dbevents.version import VERSION
from tests.demo.receiver import receiving

DEAD = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """Begin with no variable of OpenTelemetry's, and no exporters: each test names its own."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")


def otlp(monkeypatch, endpoint, protocol="http/protobuf", *signals):
    for signal in signals or ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)


def found(topic, database=None):
    report = examine([database] if database else [], measure=False)
    return [finding for finding in report.findings if finding.topic == topic]


def test_without_a_command_it_teaches(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "otel-dbevents check" in shown
    assert "import otel_dbevents.auto" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["demo", "--help"]])
def test_every_command_has_help(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 0
    assert "usage: otel-dbevents" in capsys.readouterr().out


def test_a_wrong_command_is_status_2(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["chekc"])
    assert raised.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_python_m_is_the_same_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["otel_dbevents", "check", "--no-cost", "--json"])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("otel_dbevents", run_name="__main__")
    assert raised.value.code == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_its_version_is_told(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"otel-dbevents {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "redirection", "status", "said"),
    [
        ("check --no-cost", "| true", 141, ""),  # which has ended before the first line is there
        ("check --no-cost", ">&-", 0, ""),
        ("--help", ">/dev/full", 2, "otel-dbevents: the output cannot be written: No space left"),
    ],
)
def test_who_reads_no_further_or_nothing_ends_it_without_a_traceback(
    monkeypatch, arguments, redirection, status, said
):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse hears of no error then
    script = f"{sys.executable} -m otel_dbevents {arguments} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.partition(" on device")[0]) == (status, said)


def test_demo_hands_its_arguments_on_and_returns_its_status(monkeypatch):
    monkeypatch.setattr(otel_dbevents.demo, "main", lambda arguments: len(arguments))
    assert main(["demo", "--json", "--scene", "x"]) == 3


def test_demo_without_its_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "greenlet" else name)
    assert main(["demo"]) == 2
    assert "greenlet not installed; pip install 'otel-dbevents[demo]'" in capsys.readouterr().err
    assert main(["demo", "--help"]) == 0  # the options are those of what is not there
    assert "pip install 'otel-dbevents[demo]'" in capsys.readouterr().out


def test_check_shows_each_setting_and_where_it_came_from(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_DBEVENTS_SLOW_QUERY_MS", "200")
    monkeypatch.setenv("OTEL_DBEVENTS_ENVIRONMENT", "staging")
    assert main(["check", "--no-cost"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["OTEL_DBEVENTS_SLOW_QUERY_MS", "200", "environment"] in lines
    assert ["OTEL_DBEVENTS_ENVIRONMENT", "staging", "environment"] in lines
    assert ["OTEL_DBEVENTS_HISTORY", "not", "set", "default"] in lines
    assert ["OTEL_DBEVENTS_SPANS", "true", "default"] in lines


def test_check_as_json_is_one_document(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_DBEVENTS_ENABLED", "false")
    assert main(["check", "--no-cost", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert document["settings"]["enabled"] == {
        "value": False,
        "from": "environment",
        "variable": "OTEL_DBEVENTS_ENABLED",
    }
    assert document["versions"]["sqlalchemy"]
    mends = {finding["text"]: finding["mend"] for finding in document["findings"]}
    assert mends["turned off: nothing is observed"] == "unset OTEL_DBEVENTS_ENABLED"


def test_a_wrong_setting_is_status_1_and_named(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_DBEVENTS_LOGS", "perhaps")
    assert main(["check", "--no-cost"]) == 1
    shown = capsys.readouterr().out
    assert "wrong    settings: OTEL_DBEVENTS_LOGS takes true or false, but got 'perhaps'" in shown
    assert "-> correct the variable, or unset it" in shown


@pytest.mark.parametrize(
    ("terminal", "kind", "no_colour", "coloured"),
    [
        (True, "xterm", "", True),
        (True, "xterm", "1", False),
        (True, "dumb", "", False),
        (False, "xterm", "", False),
    ],
)
def test_colours_only_on_a_terminal(monkeypatch, capsys, terminal, kind, no_colour, coloured):
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    main(["check", "--no-cost"])
    assert ("\x1b[32mok" in capsys.readouterr().out) is coloured


def test_a_version_too_old_is_wrong_and_has_its_mend(monkeypatch):
    def refuse():
        raise check.UnsupportedVersionError(
            "otel_dbevents needs x, and y is installed: pip install x"
        )

    monkeypatch.setattr(check, "check_versions", refuse)
    [finding] = found("versions")
    assert (finding.status, finding.mend) == ("wrong", "pip install x")


@pytest.mark.parametrize(("disabled", "warned"), [("", 1), ("redis, sqlalchemy", 0), ("*", 0)])
def test_the_other_instrumentation_is_warned_of_unless_disabled(monkeypatch, disabled, warned):
    monkeypatch.setattr(check, "installed", lambda _: "1.0")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", disabled)
    assert len(found("contrib")) == warned


def test_signals_that_are_off_or_go_elsewhere_are_told(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    assert [finding.text for finding in found("traces")] == [
        "the sampler drops every new trace",
        "go to the exporter console",
    ]
    assert found("logs") == [Finding("logs", "warning", "off, by OTEL_LOGS_EXPORTER")]


def test_a_variable_that_is_no_setting_is_told_once_with_the_one_that_was_meant(
    monkeypatch, caplog
):
    monkeypatch.setattr(Config, "_told", set())
    monkeypatch.setenv("OTEL_DBEVENTS_SLOW_QUERY", "5")
    assert found("settings")[1:] == [
        Finding(
            "settings",
            "warning",
            "OTEL_DBEVENTS_SLOW_QUERY is not a setting of otel_dbevents and is ignored",
            "did you mean OTEL_DBEVENTS_SLOW_QUERY_MS?",
        )
    ]
    assert not [line for line in caplog.messages if "SLOW_QUERY" in line]


@pytest.mark.parametrize("value", ['"http://localhost:4317"', "'http://localhost:4317'"])
def test_quotes_that_no_shell_took_away_are_told(monkeypatch, value):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", value)
    monkeypatch.setenv("OTEL_DBEVENTS_STREAM", "plain")
    [finding] = found("variables")
    assert finding.status == "warning"
    assert finding.text == "OTEL_EXPORTER_OTLP_ENDPOINT has quotes, which are part of its value"


def test_a_windows_line_end_in_a_variable_is_told(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop\r")
    [finding] = found("variables")
    assert finding.text == "OTEL_SERVICE_NAME ends in a line end, which is part of its value"


def test_a_signing_key_with_quotes_is_told_without_it(monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_SIGNING_KEY", '"correct horse battery staple"')
    [finding] = found("variables")
    assert finding.text.startswith("OTEL_DBEVENTS_SIGNING_KEY has quotes")
    assert "horse" not in str(finding)


def test_an_environment_that_nobody_knows_is_told(monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_ENVIRONMENT", "prod")
    assert found("settings")[1].text == (
        "OTEL_DBEVENTS_ENVIRONMENT names no environment that is known, and counts as local"
    )
    monkeypatch.setenv("OTEL_DBEVENTS_ENVIRONMENT", " Production")
    assert len(found("settings")) == 1


def test_a_disabled_sdk_is_told_and_nothing_is_tried(monkeypatch):
    otlp(monkeypatch, DEAD)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert [finding.status for finding in found("telemetry")] == ["warning"]
    assert not found("traces")


def test_an_exporter_that_does_not_exist_is_wrong(monkeypatch):
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "pigeon")
    [finding] = found("logs")
    assert finding.status == "wrong"
    assert "pigeon" in finding.text


def test_a_collector_over_http_is_given_one_empty_export_for_each_signal(monkeypatch):
    with receiving() as receiver:
        otlp(monkeypatch, receiver.endpoint)
        statuses = [finding.status for topic in SIGNALS for finding in found(topic)]
        assert set(statuses) == {"ok"}
        assert len(receiver.requests) == 9
        assert not receiver.spans


def test_a_collector_that_refuses_is_wrong_and_its_reason_is_told(monkeypatch, capsys, caplog):
    with receiving(status=401) as receiver:
        otlp(monkeypatch, receiver.endpoint, "http/protobuf", "TRACES")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer topsecret")
        assert main(["check", "--no-cost"]) == 1
    shown = capsys.readouterr().out
    assert "refuses them: Failed to export span" in shown
    assert "401" in shown
    assert "topsecret" not in shown
    assert not caplog.records


class Collector(TraceServiceServicer):
    """A collector's trace service over gRPC."""

    def Export(self, request, context):  # noqa: N802 - the service's own name
        return ExportTraceServiceResponse()


def test_a_collector_over_grpc_takes_an_empty_export(monkeypatch):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        otlp(monkeypatch, f"http://127.0.0.1:{port}", "grpc", "TRACES")
        assert [f.text for f in found("traces")] == [f"127.0.0.1:{port} (grpc) takes them"]
    finally:
        server.stop(None).wait()


def test_nobody_at_the_endpoint_is_wrong_for_each_signal(monkeypatch, capsys):
    otlp(monkeypatch, "http://me:topsecret@127.0.0.1:1")
    assert main(["check", "--no-cost"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("nothing answers at 127.0.0.1:1 (http/protobuf)") == 3
    assert "topsecret" not in shown


def test_who_accepts_and_does_not_answer_is_wrong(monkeypatch):
    monkeypatch.setattr(report, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        otlp(monkeypatch, f"http://127.0.0.1:{mute.getsockname()[1]}", "http/protobuf", "TRACES")
        [finding] = found("traces")
        assert finding.status == "wrong"


def test_a_look_that_takes_too_long_is_not_waited_for():
    enough = Event()
    late, otherwise = Finding("x", "ok", ""), Finding("x", "wrong", "too long")
    assert within(0.05, lambda: late if enough.wait() else otherwise, otherwise) is otherwise
    enough.set()


@pytest.mark.parametrize(
    ("endpoint", "protocol", "expected"),
    [
        ("collector:4317", "grpc", ("collector", 4317)),
        ("collector", "grpc", ("collector", 443)),
        ("http://collector/v1/traces", "http/protobuf", ("collector", 80)),
        ("https://me:secret@collector/v1/traces", "http/protobuf", ("collector", 443)),
        ("", "grpc", ("localhost", 443)),
    ],
)
def test_the_address_of_an_endpoint(endpoint, protocol, expected):
    assert address(endpoint, protocol) == expected


def test_the_port_of_the_other_protocol_is_pointed_out():
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in mend_port(4317)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in mend_port(4318)
    assert "_HEADERS" in mend_port(443)


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
def test_a_database_that_answers(driver, tmp_path):
    (tmp_path / "shop.db").touch()
    [finding] = found("database", f"{driver}:///{tmp_path / 'shop.db'}")
    assert finding.status == "ok"
    assert finding.text.endswith(": healthy")


def test_a_database_that_answers_slowly_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_HEALTH_DEGRADED_MS", "0")
    desk._own.cache_clear()
    (tmp_path / "shop.db").touch()
    [finding] = found("database", f"sqlite:///{tmp_path / 'shop.db'}")
    desk._own.cache_clear()
    assert finding.status == "warning"
    assert finding.text.endswith(": degraded")


@pytest.mark.parametrize(("seconds", "said"), [("10", "asked every 10 s"), ("0", "checks are off")])
def test_it_says_whether_databases_are_asked(seconds, said, monkeypatch):
    monkeypatch.setenv("OTEL_DBEVENTS_HEALTH_INTERVAL_S", seconds)
    [finding] = found("health")
    assert said in finding.text


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    [finding] = found("database", f"sqlite:///{tmp_path / 'none.db'}")
    assert (finding.status, finding.mend) == ("wrong", "check the path")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["nonsense", "pigeon://me:topsecret@host/x"])
def test_what_is_no_url_is_wrong(url):
    [finding] = found("database", url)
    assert "not a URL that SQLAlchemy knows" in finding.text
    assert "topsecret" not in str(finding)


def test_a_missing_driver_has_its_mend():
    [finding] = found("database", "oracle+cx_oracle://me:topsecret@127.0.0.1:1/x")
    assert (finding.status, finding.mend) == ("wrong", "pip install cx_Oracle")


def test_a_database_that_cannot_be_opened_is_wrong(tmp_path):
    [finding] = found("database", f"sqlite:///{tmp_path}")
    assert "cannot be reached: unable to open database file" in finding.text


def test_an_unreachable_database_is_wrong_and_its_secrets_are_kept():
    url = "postgresql+psycopg://someone:topsecret@127.0.0.1:1/shop?sslkey=hidden"
    [finding] = found("database", url)
    assert finding.text.startswith("postgresql+psycopg://127.0.0.1:1/shop cannot be reached: ")
    assert not {"topsecret", "someone", "hidden"} & set(finding.text.split())


def test_what_a_driver_says_is_told_without_secrets_and_in_one_line():
    said = short("no entry for me with hunter2\nDETAIL: x", "hunter2", "", None)
    assert said == "no entry for me with ***"
    assert short("x" * 300).endswith("...")
    assert short(ValueError()) == "ValueError"


def test_a_configuration_file_is_validated_where_it_can_be_read(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(tmp_path / "none.yaml"))
    [finding] = found("telemetry")
    assert finding.status == "wrong"


def test_settings_in_a_configuration_file_are_not_said_to_be_defaults(monkeypatch):
    assert found("settings")[0].text.endswith("set, the others by default")
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    assert "unless OTEL_CONFIG_FILE has them" in found("settings")[0].text


def test_a_valid_configuration_file_is_told(monkeypatch):
    class Declarative:
        load_config_file = staticmethod(lambda path: path)

    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", Declarative)
    assert [finding.status for finding in found("telemetry")] == ["ok"]


def test_an_invalid_configuration_file_is_told(monkeypatch):
    class Declarative:
        @staticmethod
        def load_config_file(path):
            raise ValueError("no such key")

    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", Declarative)
    [finding] = found("telemetry")
    assert finding.text == "OTEL_CONFIG_FILE is not valid: no such key"


def test_without_an_sdk_only_the_versions_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "otel_dbevents.exporters", None)
    assert not found("telemetry")
    assert cli.main(["check", "--no-cost"]) == 0

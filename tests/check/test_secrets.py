"""`otel-dbevents check` cites no part of a secret, wherever it stands and whatever is wrong."""

import json
import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

os.environ["OTEL_SDK_DISABLED"] = "true"  # in this process the import turns nothing on
try:
    from otel_dbevents import auto
finally:
    del os.environ["OTEL_SDK_DISABLED"]
from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, within
from otel_dbevents.cli import main
from otel_dbevents.misread import reason

DEAD = "http://127.0.0.1:1"
OTLP = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": DEAD}
KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-Xq7public", "LANGFUSE_SECRET_KEY": "sk-lf-Xq7secret"}
SHOP = "postgresql+psycopg://bob"

VARIABLES: dict[str, dict[str, str]] = {
    "a key that is too short": {"OTEL_DBEVENTS_SIGNING_KEY": "Xq7short"},
    "a key": {"OTEL_DBEVENTS_SIGNING_KEY": "Xq7-long-enough-to-be-a-key"},
    "the key before": {"OTEL_DBEVENTS_SIGNING_KEY_PREVIOUS": "Xq7-long-enough-to-be-a-key"},
    "a key's name misspelt": {"OTEL_DBEVENTS_SIGNING_KY": "Xq7-long-enough-to-be-a-key"},
    "Redis' password": {"OTEL_DBEVENTS_BUS_URL": "redis://me:Xq7pass@127.0.0.1:1/0"},
    "with a slash": {"OTEL_DBEVENTS_BUS_URL": "redis://me:Xq7/pass@127.0.0.1:1/0"},
    "encoded": {"OTEL_DBEVENTS_BUS_URL": "redis://me:Xq7%40pass@127.0.0.1:1/0?password=Xq7b"},
    "no URL": {"OTEL_DBEVENTS_BUS_URL": "Xq7password"},
    "OTLP's headers": OTLP | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=Xq7key"},
    "OTLP's headers, wrong": OTLP | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key: Xq7key"},
    "OTLP's user": OTLP | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:Xq7pass@127.0.0.1:1"},
    "OTLP's, slash": OTLP | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:Xq7/pass@127.0.0.1"},
    "Langfuse's keys": KEYS | {"LANGFUSE_BASE_URL": "http://me:Xq7pass@127.0.0.1:1"},
    "Langfuse's, slash": KEYS | {"LANGFUSE_BASE_URL": "http://me:Xq7/pass@127.0.0.1"},
}
DATABASES = [
    f"{SHOP}:Xq7pass@127.0.0.1:1/shop",
    f"{SHOP}:Xq7%40pass@127.0.0.1:1/shop?password=Xq7query&sslmode=Xq7mode",
    f"{SHOP}:Xq7/pass@127.0.0.1:1/shop",
    f"{SHOP}:pass@127.0.0.1:Xq7port/shop",
    "postgresql/bob:Xq7pass@127.0.0.1/shop",
    "mysql+pymysql://bob:Xq7pass@127.0.0.1:1/shop?read_timeout=Xq7time",
    "sqlite:///file:/nobody/is/there.db?uri=true&key=Xq7key",
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "LANGFUSE_"))]:
        monkeypatch.delenv(name)
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    monkeypatch.setattr(report, "PATIENCE", 1.0)


def checked(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *arguments: str
) -> str:
    """Return all that the command lets be seen: its output, its log, other threads' errors."""
    main(["check", "--no-cost", *arguments])
    said = capfd.readouterr()
    return said.out + said.err + caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("which", VARIABLES)
def test_no_part_of_a_secret_in_a_variable_is_shown(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    which: str,
    protocol: str,
) -> None:
    if protocol == "grpc" and "OTEL_TRACES_EXPORTER" not in VARIABLES[which]:
        protocol = "http/protobuf"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    for name, value in VARIABLES[which].items():
        monkeypatch.setenv(name, value)
    said = checked(capfd, caplog, "--json")
    assert "Xq7" not in said
    json.loads(said.partition("\n}\n")[0] + "\n}")


@pytest.mark.parametrize("url", DATABASES)
def test_no_part_of_a_databases_url_but_host_and_name_is_shown(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, url: str
) -> None:
    said = checked(capfd, caplog, "--database", url)
    assert "wrong    database: " in said
    assert "Xq7" not in said
    assert "Traceback" not in said


def test_a_look_that_fails_is_told_by_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    def look() -> Finding:
        raise LookupError("Xq7message")

    found = within(5, look, Finding("x", "wrong", "too late"))
    assert found.text.startswith("could not be looked at: LookupError < test_secrets.py:")
    assert "Xq7" not in capfd.readouterr().err


@pytest.mark.parametrize("which", ["a key that is too short", "with a slash", "no URL"])
def test_no_part_of_a_secret_is_logged_by_auto_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    for name, value in VARIABLES[which].items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.DEBUG):
        assert not auto.start()
    assert "otel_dbevents is off" in caplog.text
    assert "Xq7" not in caplog.text


def test_no_part_of_a_url_that_cannot_be_taken_apart_is_cited() -> None:
    with pytest.raises(ValueError, match="Xq7pass") as raised:
        _ = urlsplit("http://me:Xq7pass/word@127.0.0.1").port
    assert reason(raised.value) == "a URL has no number where its port stands"


@pytest.mark.newest  # the package that reads such files is not there on the oldest
def test_no_part_of_a_configuration_file_is_logged_by_auto(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "otel.yaml"
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    for text in ("tracer_provider: Xq7key", "a: {b: Xq7key", 'file_format: ["Xq7key"]'):
        file.write_text(text)
        with caplog.at_level(logging.DEBUG):
            assert not auto.start()
    assert caplog.text.count("OTEL_CONFIG_FILE is not valid") == 3
    assert "Xq7" not in f"{caplog.text}{capfd.readouterr()}"

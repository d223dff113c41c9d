"""With an ``OTEL_CONFIG_FILE`` its exporters are tried, and nothing that stands in it is cited."""

import logging
import os
from pathlib import Path

import pytest

from otel_dbevents.check.telemetry import Telemetry
from tests.demo.receiver import receiving

pytestmark = pytest.mark.newest  # the package that reads such files is not there on the oldest

FILE = """
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: {endpoint}/v1/traces
            headers_list: "api-key=Xq7key{more}"
    - simple:
        exporter:
          console:
meter_provider:
  readers:
    - periodic:
        exporter:
          otlp_grpc:
            endpoint: http://127.0.0.1:1
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def looked(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> list[tuple[str, str, str]]:
    file = path / "otel.yaml"
    file.write_text(text)
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    return [(found.topic, found.status, found.text) for found in Telemetry().look()]


def test_each_exporter_that_the_file_makes_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with receiving() as receiver:
        found = looked(monkeypatch, tmp_path, FILE.format(endpoint=receiver.endpoint, more=""))
        assert len(receiver.requests) == 1
    where = receiver.endpoint.removeprefix("http://")
    assert found == [
        ("telemetry", "ok", "OTEL_CONFIG_FILE is valid; it says where telemetry goes"),
        ("traces", "ok", f"{where} (http/protobuf) takes them"),
        ("traces", "ok", "go to the exporter console"),
        ("metrics", "wrong", "nothing answers at 127.0.0.1:1 (grpc): Connection refused"),
        ("logs", "warning", "off, by OTEL_CONFIG_FILE"),
    ]


def test_the_mend_of_an_endpoint_names_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked(monkeypatch, tmp_path, FILE.format(endpoint="http://127.0.0.1:1", more=""))
    mends = {found.mend for found in Telemetry().look() if "nothing answers" in found.text}
    assert mends == {"start a collector there, or name another in OTEL_CONFIG_FILE"}


def test_a_file_that_is_turned_off_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = 'file_format: "1.0"\ndisabled: true\n'
    assert looked(monkeypatch, tmp_path, text) == [
        ("telemetry", "warning", "OTEL_CONFIG_FILE says disabled: nothing is emitted")
    ]


def test_an_exporter_that_is_not_installed_is_wrong_and_the_others_are_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = FILE.format(endpoint="http://127.0.0.1:1", more="").replace("console:", "pigeon:")
    found = looked(monkeypatch, tmp_path, text)
    assert [status for topic, status, _ in found if topic == "traces"] == ["wrong", "wrong"]
    assert any(said.startswith("pigeon cannot be set up") for _, _, said in found)


def test_metrics_that_somebody_asks_for_go_nowhere_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        'file_format: "1.0"\nmeter_provider:\n  readers:\n    - pull:\n        exporter:\n'
        "          prometheus/development:\n            port: 1\n"
    )
    found = looked(monkeypatch, tmp_path, text)
    assert ("metrics", "ok", "are read by who asks") in found


def test_where_the_reader_has_its_exporters_elsewhere_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from opentelemetry.configuration import _tracer_provider

    monkeypatch.delattr(_tracer_provider, "_create_span_exporter")
    found = looked(monkeypatch, tmp_path, FILE.format(endpoint="http://127.0.0.1:1", more=""))
    expected = "OTEL_CONFIG_FILE's exporters cannot be made here: none was tried"
    assert ("traces", "warning", expected) in found


WRONG = {
    "a header without a value": (FILE.format(endpoint="http://127.0.0.1:1", more=",Xq7word"), ""),
    "a port that is none": (FILE.format(endpoint="http://me:Xq7/1@127.0.0.1", more=""), ""),
    "headers of a wrong kind": (
        'file_format: "1.0"\ntracer_provider:\n  processors:\n    - batch:\n        exporter:\n'
        "          otlp_http:\n            headers: Xq7key\n",
        "what stands at tracer_provider.processors.0.batch.exporter.otlp_http.headers is not",
    ),
    "no YAML": ('file_format: "1.0"\nresource: {a: "Xq7key\n', "it cannot be parsed in line"),
}


@pytest.mark.parametrize("which", WRONG)
def test_nothing_of_a_wrong_file_is_cited(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    which: str,
) -> None:
    text, said = WRONG[which]
    with caplog.at_level(logging.DEBUG):
        found = looked(monkeypatch, tmp_path, text)
    assert "wrong" in {status for _, status, _ in found}
    assert said in str(found)
    assert "Xq7" not in f"{found}{caplog.text}{capfd.readouterr()}"

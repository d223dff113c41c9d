"""With the standard variables set, a collector gets what the demonstration shows."""

import xml.etree.ElementTree as ET

import pytest

from tests.demo.receiver import receiving
from tests.demo.running import demo, document, otlp
from tests.services.ports import free_ports


def test_a_collector_gets_the_same_spans_events_and_metrics(collected):
    told, collector = collected
    ids = {(span["trace_id"], span["span_id"]) for span in told.all_spans}
    assert {(span.trace_id.hex(), span.span_id.hex()) for span in collector.spans} == ids
    assert len(collector.spans) == len(ids)
    assert {point["metric"] for point in told.whole["metrics"]} <= collector.metrics
    assert collector.log_events.count("database.commit.failed") == 1
    assert collector.services == {"shop-assistant"}


def test_what_was_sent_is_told(collected):
    told, collector = collected
    sent = {one["signal"]: one for one in told.whole["sent"]}
    assert set(sent) == {"traces", "metrics", "logs"}
    assert sent["traces"]["taken"] == len(told.all_spans)
    assert not any(one["refused"] for one in sent.values())
    assert {one["endpoint"] for one in sent.values()} == {collector.endpoint}


@pytest.mark.newest
@pytest.mark.beside
def test_one_scene_can_be_shown_saved_as_a_picture_and_looked_up_in_the_collector(tmp_path):
    """On a terminal that cannot show all that is printed, under another service's name."""
    picture = tmp_path / "commit.svg"
    with receiving() as collector:
        more = {"OTEL_SERVICE_NAME": "my-shop", "PYTHONIOENCODING": "ascii"}
        variables = otlp(collector.endpoint, **more)
        finished = demo("--scene", "commit", "--svg", str(picture), variables=variables)
    assert finished.returncode == 0, finished.stderr
    assert "COMMIT fails" in finished.stdout
    assert "N+1" not in finished.stdout
    assert f"to {collector.endpoint}" in finished.stdout
    assert "NOT SENT" not in finished.stdout
    for span in collector.spans:
        assert span.name != "open shop" or span.trace_id.hex() in finished.stdout
    assert collector.services == {"my-shop"}
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert "@font-face" not in picture.read_text(encoding="utf-8")


@pytest.mark.newest
@pytest.mark.beside
def test_what_a_collector_refuses_is_told_and_the_run_goes_on():
    with receiving(status=400) as collector:
        finished = demo("--scene", "commit", variables=otlp(collector.endpoint))
    assert finished.returncode == 0
    assert finished.stdout.count("NOT SENT") == 3
    assert "Traceback" not in finished.stdout + finished.stderr
    assert "CommitFailed" in finished.stdout


@pytest.mark.newest
@pytest.mark.beside
def test_a_collector_that_is_not_there_is_told_and_the_run_goes_on():
    (port,) = free_ports(1)
    more = otlp(f"http://127.0.0.1:{port}", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    finished = demo("--json", variables=more)
    told = document(finished).get("sent")
    assert len(told) == 3
    assert all(one["refused"] and not one["taken"] and one["reason"] for one in told)


@pytest.mark.newest
@pytest.mark.beside
def test_the_console_exporter_leaves_the_document_alone():
    finished = demo("--json", variables={"OTEL_TRACES_EXPORTER": "console"})
    assert finished.stdout.startswith("{")
    assert '"name": "COMMIT shop.db"' in finished.stderr

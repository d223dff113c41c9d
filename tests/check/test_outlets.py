"""What is read from a collector's own metrics, in the forms that collectors have them."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from otel_dbevents.check import report
from otel_dbevents.check.behind import look_behind
from otel_dbevents.check.report import Finding


class Told:
    """A collector's own metrics, which change from one look to the next."""

    def __init__(self) -> None:
        self.texts = [""]

    def next(self) -> str:
        return self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(report, "PATIENCE", 60.0)  # none of them needs all of it
    return Told()


@pytest.fixture
def where(told: Told) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = told.next().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


def line(metric: str, exporter: str, number: float, **labels: str) -> str:
    others = "".join(f',{name}="{value}"' for name, value in labels.items())
    return f'otelcol_exporter_{metric}{{exporter="{exporter}"{others}}} {number}'


def looked(where: str, *sent: str, asked: bool = True) -> list[tuple[str, str]]:
    return [(f.status, f.text) for f in look_behind(where, sent, asked=asked)]


@pytest.mark.parametrize("total", ["", "_total"])
def test_an_exporter_that_has_sent_passes_on(told: Told, where: str, total: str) -> None:
    told.texts = [line(f"sent_spans{total}", "otlp", 7)]
    assert looked(where) == [("ok", "otlp passes traces on")]


def test_a_queue_that_empties_while_it_is_looked_at_is_well(told: Told, where: str) -> None:
    full = line("queue_size", "otlp", 3, data_type="logs")
    empty = line("queue_size", "otlp", 0, data_type="logs")
    told.texts = [full, full, empty + "\n" + line("sent_log_records_total", "otlp", 3)]
    assert looked(where, "logs") == [("ok", "otlp passes logs on")]


def test_what_fails_while_it_is_looked_at_is_wrong(told: Told, where: str) -> None:
    told.texts = [line("send_failed_spans_total", "otlp", n) for n in (2, 5)]
    assert looked(where) == [
        ("wrong", "otlp could not pass traces on just now: 5 lost so far"),
    ]


def test_what_failed_once_is_a_warning(told: Told, where: str) -> None:
    failed = line("enqueue_failed_metric_points_total", "otlp", 4)
    told.texts = [failed + "\n" + line("sent_metric_points_total", "otlp", 9)]
    assert looked(where) == [
        ("warning", "otlp has lost 4 of the metrics so far, and passes them on now"),
    ]


def test_several_processes_of_one_exporter_add_up(told: Told, where: str) -> None:
    told.texts = [
        line("send_failed_spans_total", "otlp", 1, job="a")
        + "\n"
        + line("send_failed_spans_total", "otlp", 2, job="b"),
    ]
    [(status, text)] = looked(where)
    assert (status, text[:14]) == ("warning", "otlp has lost ")
    assert "lost 3 of" in text


def test_a_collector_without_exporters_metrics_is_told(told: Told, where: str) -> None:
    told.texts = ["otelcol_process_uptime 3\n# HELP otelcol_exporter_x y"]
    assert looked(where) == [("ok", f"the collector at {where} has sent nothing yet")]


@pytest.mark.parametrize(("asked", "status"), [(True, "wrong"), (False, "warning")])
def test_nobody_there_is_wrong_only_if_the_address_was_given(asked: bool, status: str) -> None:
    [finding] = look_behind("127.0.0.1:1", (), asked=asked)
    assert isinstance(finding, Finding)
    assert finding.status == status
    assert "127.0.0.1:1 does not tell of the collector's exporters" in finding.text
    assert "--collector-metrics HOST:PORT" in finding.mend


def test_what_is_no_address_is_wrong() -> None:
    [finding] = look_behind("not an address", (), asked=True)
    assert finding.status == "wrong"

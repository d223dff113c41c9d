"""Files of OTLP: each form that the collector writes, and what is none."""

import gzip
import io
import json
import sys

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from otel_dbevents.report import SourceError, spans_of_finished
from otel_dbevents.report.files import spans_of_file
from tests.report.making import finished_run

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

RUN = finished_run()
EXPECTED = [*spans_of_finished(RUN)]


def requests():
    """Return the run in several requests."""
    return [encode_spans(RUN[at : at + 100]) for at in range(0, len(RUN), 100)]


def line(request) -> bytes:
    """Return a request as the collector's JSON: ids in hexadecimal, not base64."""
    document = MessageToDict(request, use_integers_for_enums=True)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span, sent in zip(scope["spans"], _sent(request, scope), strict=True):
                span["traceId"], span["spanId"] = sent.trace_id.hex(), sent.span_id.hex()
                span["parentSpanId"] = sent.parent_span_id.hex()
    return json.dumps(document).encode()


def _sent(request, scope):
    (found,) = [
        each.spans
        for resource in request.resource_spans
        for each in resource.scope_spans
        if each.scope.name == scope["scope"]["name"]
    ]
    return found


JSON = b"".join(line(request) + b"\n" for request in requests())
PROTOBUF = b"".join(
    len(data).to_bytes(4, "big") + data
    for data in (request.SerializeToString() for request in requests())
)

FORMS = {
    "json": JSON,
    "protobuf": PROTOBUF,
    "json in gzip": gzip.compress(JSON),
    "protobuf in gzip": gzip.compress(PROTOBUF),
}


def read(tmp_path, content: bytes):
    path = tmp_path / "traces"
    path.write_bytes(content)
    return [*spans_of_file(str(path))]


def in_order(spans):
    return sorted(spans, key=lambda each: each.span_id)


@pytest.mark.parametrize("content", FORMS, ids=[*FORMS])
def test_each_form_holds_the_same_spans(tmp_path, content):
    assert in_order(read(tmp_path, FORMS[content])) == in_order(EXPECTED)


def test_what_comes_in_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(JSON))))
    assert len([*spans_of_file("-")]) == len(EXPECTED)


def test_a_document_over_many_lines_is_read(tmp_path):
    content = json.dumps(json.loads(JSON.splitlines()[0]), indent=2).encode()
    assert len(read(tmp_path, content)) == 100


def test_an_empty_file_has_no_spans(tmp_path):
    assert read(tmp_path, b"") == []
    assert read(tmp_path, b"\n\n") == []


def test_metrics_and_logs_in_the_same_file_are_passed_over(tmp_path):
    others = b'{"resourceMetrics":[]}\n{"resourceLogs":[{"scopeLogs":[]}]}\n'
    assert len(read(tmp_path, others + JSON)) == len(EXPECTED)


@pytest.mark.parametrize("content", ["json", "protobuf"])
def test_the_end_that_is_still_being_written_is_left_out(tmp_path, content):
    assert 0 < len(read(tmp_path, FORMS[content][:-40])) < len(EXPECTED)


def test_a_file_is_read_as_it_comes():
    class Endless(io.RawIOBase):
        """A file of which nobody sees the end."""

        def readable(self):
            return True

        def readinto(self, buffer):
            piece = (JSON * (1 + len(buffer) // len(JSON)))[: len(buffer) // len(JSON) * len(JSON)]
            buffer[: len(piece)] = piece
            return len(piece)

    from otel_dbevents.report import files

    spans = files._spans(io.BufferedReader(Endless(), len(JSON) * 2), "endless")
    assert next(spans).trace_id == EXPECTED[0].trace_id


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ts=1 level=info msg=started\n", "neither OTLP JSON nor OTLP protobuf"),
        (b"\x00\x00\x00\x05hello", "neither OTLP JSON nor OTLP protobuf"),
        (b"\xff\xff\xff\xff\xff", "neither OTLP JSON nor OTLP protobuf"),
        (b'{"level":"info"}\n', "line 1: JSON, but not OTLP"),
        (JSON + b"not json\n" + JSON, "line 5: not OTLP JSON"),
        (b'{"resourceSpans": 3}\n', "line 1: not OTLP JSON"),
        (b"{" * 100_000 + b"\n", "line 1: not OTLP JSON"),
        (
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"soon"}]}]}]}\n',
            "a number is none",
        ),
        (b'{"resourceSpans": "\xff\xfe"}\n', "line 1: not OTLP JSON"),
        (gzip.compress(JSON)[:-30], "gzip in it is damaged"),
        (b"\x1f\x8b\x08\x00nonsense and more of it", "gzip in it is damaged"),
        (b"\x28\xb5\x2f\xfd\x00\x00", "compressed with zstd"),
        (b"\x00\x00\x01\x00\x28\xb5\x2f\xfd\x00", "compressed with zstd"),
    ],
    ids=range(13),
)
def test_what_is_not_otlp_is_said_with_its_place(tmp_path, content, said):
    with pytest.raises(SourceError, match=said) as raised:
        read(tmp_path, content)
    assert str(tmp_path / "traces") in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        [*spans_of_file(str(tmp_path / "none"))]
    with pytest.raises(SourceError, match="Is a directory"):
        [*spans_of_file(str(tmp_path))]


def test_an_end_of_line_that_never_comes_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_dbevents.report.files.LONGEST", 1_000)
    with pytest.raises(SourceError, match="line 1"):
        read(tmp_path, b'{"resourceSpans":[' + b" " * 5_000 + b"]}")


def test_what_the_model_was_asked_is_not_kept(tmp_path):
    said = {"key": "gen_ai.input.messages", "value": {"stringValue": "my secret question"}}
    span = {"traceId": "a", "spanId": "b", "attributes": [said]}
    content = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    (found,) = read(tmp_path, content + b"\n")
    assert "my secret question" not in repr(found)

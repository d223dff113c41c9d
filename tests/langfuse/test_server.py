"""The server that stands for Langfuse, asked by Langfuse's own SDK as it is installed."""

import gzip
import zlib
from importlib.metadata import version
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from langfuse import Langfuse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from tests.langfuse.server import TRACES

AUTH = "Basic cGstbGYtdGVzdHM6c2stbGYtWHE3bGFuZ2Z1c2U="
EMPTY = ExportTraceServiceRequest().SerializeToString()
WELL = {
    "Authorization": AUTH,
    "Content-Type": "application/x-protobuf",
    "x-langfuse-ingestion-version": "4",
}


def post(server, body, **changed):
    headers = {key.replace("_", "-"): value for key, value in changed.items()}
    request = Request(server.endpoint + TRACES, body, {**WELL, **headers})
    try:
        return urlopen(request).status
    except HTTPError as error:
        error.close()
        return error.code


@pytest.fixture
def client(langfuse, monkeypatch):
    monkeypatch.setattr(langfuse, "needs_version", int(version("langfuse").split(".")[0]) >= 5)
    provider = TracerProvider(shutdown_on_exit=False)
    made = Langfuse(**langfuse.arguments, tracer_provider=provider, environment="dev")
    yield made
    made.shutdown()
    forget_clients()


def forget_clients():
    from langfuse._client.resource_manager import LangfuseResourceManager

    LangfuseResourceManager.reset()


def test_the_sdks_spans_scores_and_questions_are_taken(langfuse, client):
    with client.start_as_current_observation(name="answer", as_type="agent"):
        with client.start_as_current_observation(
            name="chat", as_type="generation", model="m", metadata={"tenant": "acme"}
        ):
            pass
        client.score_current_trace(name="db_time_ms", value=2.5)
    client.flush()
    chat, answer = langfuse.observation("chat"), langfuse.observation("answer")
    assert (chat.type, chat.model, chat.parent_id) == ("GENERATION", "m", answer.id)
    assert (chat.environment, chat.metadata["tenant"]) == ("dev", "acme")
    assert answer.type == "AGENT"
    assert answer.is_root
    (score,) = langfuse.scores
    assert (score["name"], score["value"], score["traceId"]) == ("db_time_ms", 2.5, chat.trace_id)
    assert client.auth_check()
    assert langfuse.refused == []


def test_observations_are_read_back_page_by_page(langfuse, client):
    for number in range(5):
        client.start_observation(name=f"step {number}", metadata={"long": "x" * 300}).end()
    client.flush()
    names, cursor = [], None
    while True:
        page = client.api.observations.get_many(
            limit=2, cursor=cursor, fields="core,basic,metadata", type="SPAN"
        )
        names += [each.name for each in page.data]
        assert all(len(each.metadata["long"]) == 200 for each in page.data)
        cursor = page.meta.cursor
        if cursor is None:
            break
    assert sorted(names) == [f"step {number}" for number in range(5)]
    whole = client.api.observations.get_many(
        fields="metadata", name="step 0", expand_metadata="long"
    )
    assert [len(each.metadata["long"]) for each in whole.data] == [300]


@pytest.mark.parametrize("encoding", ["none", "gzip"])
def test_plain_and_gzip_are_taken(langfuse, encoding):
    body = gzip.compress(EMPTY) if encoding == "gzip" else EMPTY
    assert post(langfuse, body, Content_Encoding=encoding) == 200


@pytest.mark.parametrize(
    ("changed", "body", "status"),
    [
        ({"Authorization": "Basic Zm9vOmJhcg=="}, EMPTY, 401),
        ({"x_langfuse_ingestion_version": "5"}, EMPTY, 400),
        ({"Content_Encoding": "deflate"}, zlib.compress(b"spans" * 9), 400),
        ({"Content_Encoding": "zstd"}, b"\x28\xb5\x2f\xfd" * 4, 400),
        ({"Content_Type": "text/plain"}, EMPTY, 415),
    ],
)
def test_what_langfuse_refuses_is_refused(langfuse, changed, body, status):
    assert post(langfuse, body, **changed) == status
    assert [refusal[1] for refusal in langfuse.refused] == [status]

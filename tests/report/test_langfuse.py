"""A Langfuse project, read by its own client from a server on loopback."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from otel_dbevents.report import SourceError, report, spans_of_finished
from otel_dbevents.report.langfuse import client, spans_of_langfuse
from tests.langfuse.server import langfuse_server
from tests.report.making import CUSTOMERS, START_NS, finished_run

BEGIN = datetime.fromtimestamp(START_NS / 1e9, UTC)


@pytest.fixture
def server():
    with langfuse_server() as running:
        running.requests.append(encode_spans(_kept()))
        yield running


def _kept():
    """Return what Langfuse is sent of the run: not the database spans, which are not chosen."""
    return [
        span
        for span in finished_run()
        if span.instrumentation_scope and span.instrumentation_scope.name != "otel_dbevents"
    ]


def read(server, since=BEGIN, until=None):
    api, _ = client(server.variables)
    return spans_of_langfuse(api, since, until)


def test_a_project_says_what_its_spans_said(server):
    found, exact = report(read(server)), report(spans_of_finished(_kept()))
    assert found.total is not None
    assert found.total.turns == exact.total.turns == 94
    for group, twin in zip(found.groups, exact.groups, strict=True):
        assert (group.prompt, group.turns, group.known) == (twin.prompt, twin.turns, twin.known)
        assert (group.database, group.queries) == (twin.database, twin.queries)
        assert (group.failures, group.repeated) == (twin.failures, twin.repeated)
        assert group.duration.median == pytest.approx(twin.duration.median, abs=2)
    assert [each.after.label for each in found.changes] == ["support v7"]


def test_all_pages_are_read_and_none_twice(server):
    server.page = 100
    assert len([*read(server)]) == len(_kept())
    assert len(server.asked) == -(-len(_kept()) // 100)


def test_what_the_model_was_asked_and_answered_is_not_asked_for(server):
    next(read(server))
    (asked,) = server.asked
    assert "io" not in asked.partition("fields=")[2].partition("&")[0].split("%2C")


def test_a_long_query_comes_whole(server):
    text = CUSTOMERS + " AND customers.name IN (" + ", ".join("?" * 100) + ")"
    for request in server.requests:
        for scope in request.resource_spans[0].scope_spans:
            for span in scope.spans:
                for each in span.attributes:
                    if each.key.endswith("db_slowest_query"):
                        each.value.string_value = text
    found = report(read(server))
    assert found.groups[0].top_queries[0].text == text


def test_only_the_period_is_asked_for(server):
    hour = timedelta(hours=1)
    assert [*read(server, BEGIN + 24 * hour)] == []
    assert len([*read(server, BEGIN, BEGIN - hour + timedelta(minutes=20))]) < len(_kept())


def test_too_many_requests_are_waited_for(server):
    class Once(list):
        def append(self, item):
            super().append(item)
            server.status = 200

    server.status, server.refused = 429, Once()
    assert len([*read(server)]) == len(_kept())
    assert [status for _, status, _ in server.refused] == [429]


@pytest.mark.parametrize(
    ("status", "mend"),
    [(401, "keys|KEY"), (403, "project"), (404, "version 4"), (400, "")],
)
def test_a_refusal_comes_with_its_mend(server, status, mend):
    server.status = status
    with pytest.raises(SourceError, match=f"Langfuse answered {status}") as raised:
        [*read(server)]
    assert bool(raised.value.mend) == bool(mend)
    assert server.secret_key not in f"{raised.value} {raised.value.mend}"


def test_wrong_keys_are_said(server):
    api, _ = client({**server.variables, "LANGFUSE_SECRET_KEY": "other"})
    with pytest.raises(SourceError, match="answered 401"):
        [*spans_of_langfuse(api, BEGIN)]


def test_no_answer_is_said(server):
    api, _ = client({**server.variables, "LANGFUSE_BASE_URL": "http://127.0.0.1:1"})
    with pytest.raises(SourceError, match="did not answer") as raised:
        [*spans_of_langfuse(api, BEGIN)]
    assert "LANGFUSE_BASE_URL" in raised.value.mend


@pytest.mark.parametrize("missing", ["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"])
def test_a_missing_key_is_named(server, missing):
    with pytest.raises(SourceError, match=f"{missing} not set"):
        client({**server.variables, missing: ""})


def test_the_address_is_that_of_the_sdk(server):
    keys = {name: "k" for name in server.variables if "KEY" in name}
    assert client(keys)[1] == "https://cloud.langfuse.com"
    assert client({**keys, "LANGFUSE_HOST": "http://a/"})[1] == "http://a"
    both = {**keys, "LANGFUSE_HOST": "http://a", "LANGFUSE_BASE_URL": "http://b"}
    assert client(both)[1] == "http://b"
    with pytest.raises(SourceError, match="not a URL"):
        client({**keys, "LANGFUSE_HOST": "langfuse.example"})


def observation(**given):
    """Return an observation as the clients give it, of either version."""
    usual = {
        "id": "0" * 15 + "1",
        "trace_id": "t",
        "start_time": BEGIN,
        "end_time": BEGIN,
        "type": "SPAN",
        "name": "SELECT customers",
        "parent_observation_id": None,
        "level": "DEFAULT",
        "metadata": {},
        "prompt_name": None,
        "prompt_version": None,
    }
    return SimpleNamespace(**{**usual, **given})


def spans(*observations):
    page = SimpleNamespace(data=observations, meta=SimpleNamespace(cursor=None))
    api = SimpleNamespace(observations=SimpleNamespace(get_many=lambda **_: page))
    return [*spans_of_langfuse(api, BEGIN)]


def test_a_query_that_is_an_observation_is_one_of_the_database():
    metadata = {"db_system": '"postgresql"', "db_duration_ms": "0.482", "db_rows": "3"}
    turn = observation(id="a", name="turn", type="AGENT", end_time=BEGIN + timedelta(seconds=1))
    found = report(spans(turn, observation(parent_observation_id="a", metadata=metadata)))
    assert found.total is not None
    assert found.total.turns == 1
    (query,) = found.total.top_queries
    assert (query.text, query.slowest_ms) == ("SELECT customers", 0.482)


@pytest.mark.parametrize("metadata", [None, "text", ["list"], {"attributes": "cut off {"}])
def test_metadata_of_any_form_are_read(metadata):
    assert len(spans(observation(metadata=metadata))) == 1


def test_an_observation_that_has_not_ended_is_left_out():
    assert spans(observation(end_time=None)) == []


@pytest.mark.parametrize("field", ["model", "provided_model_name"])
def test_the_model_has_either_versions_name(field):
    found = report(spans(observation(type="GENERATION", **{field: "gpt-4o"})))
    assert found.groups[0].prompt.model == "gpt-4o"

"""The ways of our spans to Langfuse, with its own client as it is installed."""

import gc
import logging

import pytest
from langfuse import propagate_attributes
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents import ConfigError
from otel_dbevents.exporters.destination import Destination
from otel_dbevents.exporters.langfuse import ObservationExporter
from otel_dbevents.langfuse import langfuse_filter
from tests.bridge.support import committed, executed, failed, repeated, timed_out
from tests.langfuse.observation import plain
from tests.langfuse.server import langfuse_server
from tests.langfuse.support import LLM, SLOW, Application


@pytest.fixture
def application(langfuse, monkeypatch):
    for name, value in langfuse.variables.items():
        monkeypatch.setenv(name, value)
    with Application(langfuse) as made:
        yield made


@pytest.fixture(params=["filter", "exporter"])
def way(request, application):
    """Each of the two ways, with a client that was made accordingly."""
    if request.param == "filter":
        application.langfuse = application.client(should_export_span=langfuse_filter())
        application.wanted = {}
    else:
        application.langfuse = application.client()
        application.wanted = {"langfuse_export": True}
    return application


def turn(application):
    """A turn in which a tool runs a fast query, a slow one, one that fails and a commit."""
    client = application.langfuse
    with (
        client.start_as_current_observation(name="answer", as_type="agent"),
        propagate_attributes(user_id="u1", session_id="s1", metadata={"tenant": "acme"}),
    ):
        client.start_observation(name="chat", as_type="generation").end()
        with client.start_as_current_observation(name="search", as_type="tool"):
            application.happen()
            application.happen(duration_ns=SLOW)
            application.happen(failed)
            application.happen(committed)
    application.flush()


def test_what_was_chosen_arrives_once_under_its_tool_in_its_trace(way, langfuse):
    way.pipeline(**way.wanted)
    turn(way)
    assert langfuse.names == ["SELECT customers", "SELECT customers", "answer", "chat", "search"]
    tool = langfuse.observation("search")
    ours = [each for each in langfuse.observations if each.name == "SELECT customers"]
    assert sorted(each.level for each in ours) == ["ERROR", "WARNING"]
    for each in ours:
        assert (each.trace_id, each.parent_id) == (tool.trace_id, tool.id)
        assert (each.user_id, each.session_id, each.environment) == ("u1", "s1", "dev")
        assert each.metadata["tenant"] == "acme"
        assert not each.is_root
        assert each.metadata["attributes"]["dbevents.langfuse"] == "true"
    assert langfuse.refused == []


def test_all_queries_arrive_where_all_are_asked_for(way, langfuse):
    way.pipeline(**way.wanted, langfuse="all")
    turn(way)
    assert langfuse.names.count("SELECT customers") == 3


def test_nothing_of_ours_arrives_from_outside_an_llm_trace(way, langfuse):
    way.pipeline(**way.wanted, langfuse="all", langfuse_events=True)
    with way.provider.get_tracer("web").start_as_current_span("GET /"):
        for make in (executed, failed, timed_out, repeated):
            way.happen(make, llm=None)
    way.flush()
    assert langfuse.observations == []


def test_domain_events_arrive_as_events(way, langfuse):
    way.pipeline(**way.wanted, langfuse="summary", langfuse_events=True)
    with way.langfuse.start_as_current_observation(name="answer"):
        way.happen(duration_ns=SLOW)
    way.flush()
    shown = langfuse.observation("SlowQueryDetected")
    assert (shown.type, shown.level, shown.environment) == ("EVENT", "WARNING", "dev")
    assert shown.start_ms == shown.end_ms
    assert shown.parent_id == langfuse.observation("answer").id


def test_a_span_of_ours_is_no_root_where_the_span_above_is_not_sent(way, langfuse):
    """Under a plain span, beneath an LLM span that put nothing into the baggage."""
    way.pipeline(**way.wanted)
    answer = way.langfuse.start_observation(name="answer")
    with (
        trace.use_span(answer._otel_span, end_on_exit=False),
        way.provider.get_tracer("app").start_as_current_span("helper"),
    ):
        way.happen(duration_ns=SLOW)
    answer.end()
    way.flush()
    assert not langfuse.observation("SELECT customers").is_root
    assert langfuse.observation("answer").is_root


def test_the_default_client_sends_nothing_of_ours(application, langfuse):
    application.langfuse = application.client()
    application.pipeline(langfuse="all")
    turn(application)
    assert langfuse.names == ["answer", "chat", "search"]


def test_a_provider_of_the_clients_own_does_not_keep_ours_from_arriving(application, langfuse):
    isolated = TracerProvider(shutdown_on_exit=False)
    application.langfuse = application.client(tracer_provider=isolated)
    application.pipeline(langfuse_export=True)
    turn(application)
    isolated.force_flush()
    tool = langfuse.observation("search")
    ours = [each for each in langfuse.observations if each.name == "SELECT customers"]
    assert [each.parent_id for each in ours] == [tool.id, tool.id]
    isolated.shutdown()


def test_what_is_sent_is_what_the_span_says_field_by_field(application, langfuse):
    kept = InMemorySpanExporter()
    application.provider.add_span_processor(SimpleSpanProcessor(kept))
    application.pipeline(langfuse_export=True)
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        event = application.happen(duration_ns=SLOW, returned_rows=3)
    application.flush()
    _, span = kept.get_finished_spans()
    (request,) = langfuse.requests
    assert request == encode_spans([span])
    ((sent,),) = ([s for sc in r.scope_spans for s in sc.spans] for r in request.resource_spans)
    assert (sent.name, sent.kind) == ("SELECT customers", sent.SPAN_KIND_CLIENT)
    assert sent.span_id == event.id[8:]
    assert sent.end_time_unix_nano - sent.start_time_unix_nano == SLOW
    assert plain(sent.attributes) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.example.com",
        "server.port": 5433,
        "db.query.summary": "SELECT customers",
        "db.query.text": "SELECT * FROM customers WHERE id = ?",
        "db.response.returned_rows": 3,
        "dbevents.llm": True,
        "dbevents.langfuse": True,
        "langfuse.environment": "dev",
        "langfuse.observation.type": "span",
        "langfuse.observation.input": "SELECT * FROM customers WHERE id = ?",
        "langfuse.observation.output": '{"rows": 3}',
        "langfuse.observation.level": "WARNING",
        "langfuse.observation.status_message": "took 600.0 ms; slow from 500 ms on",
        "langfuse.observation.metadata.db_caused_by_generation": "01" * 8,
        "langfuse.observation.metadata.db_caused_by_generation_name": "chat",
        "langfuse.observation.metadata.db_duration_ms": 600.0,
        "langfuse.observation.metadata.db_rows": 3,
        "langfuse.observation.metadata.db_system": "postgresql",
    }


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "https://cloud.langfuse.com"),
        ({"LANGFUSE_HOST": "http://here:3000/"}, "http://here:3000"),
        ({"LANGFUSE_HOST": "http://h", "LANGFUSE_BASE_URL": "https://b/lf"}, "https://b/lf"),
    ],
)
def test_the_address_is_found_as_langfuses_client_finds_it(
    application, monkeypatch, variables, address
):
    monkeypatch.delenv("LANGFUSE_BASE_URL")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = Destination.from_environment()
    assert found.base_url == address
    assert application.server.secret_key not in repr(found)


def test_the_filter_asks_another_about_all_spans_that_are_not_ours(application, langfuse):
    asked = []
    application.langfuse = application.client(
        should_export_span=langfuse_filter(lambda span: asked.append(span.name) or True)
    )
    application.pipeline()
    with application.provider.get_tracer("web").start_as_current_span("GET /"):
        application.happen(duration_ns=SLOW)
    application.flush()
    assert langfuse.names == ["GET /", "SELECT customers"]
    assert {*asked} == {"GET /"}


def test_the_filter_is_made_of_a_function():
    with pytest.raises(TypeError, match="base takes a function; got 'all'"):
        langfuse_filter("all")


def test_an_exporter_beside_a_filter_is_refused(application):
    application.langfuse = application.client(should_export_span=langfuse_filter())
    with pytest.raises(ConfigError, match="was given langfuse_filter"):
        application.pipeline(langfuse_export=True)
    application.pipeline()


def test_a_filter_beside_an_exporter_is_refused(application):
    pipeline = application.pipeline(langfuse_export=True)
    with pytest.raises(ConfigError, match="LANGFUSE_EXPORT is on and sends our spans already"):
        langfuse_filter()
    pipeline.close()
    langfuse_filter()


def test_a_filter_that_nobody_holds_is_in_nobodys_way(application):
    langfuse_filter()
    gc.collect()
    application.pipeline(langfuse_export=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"LANGFUSE_PUBLIC_KEY": ""}, "LANGFUSE_PUBLIC_KEY is not set: take the keys"),
        (
            {"LANGFUSE_PUBLIC_KEY": "", "LANGFUSE_SECRET_KEY": " "},
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set",
        ),
        ({"LANGFUSE_PUBLIC_KEY": "sk-lf-Xq7"}, "are exchanged"),
        ({"LANGFUSE_BASE_URL": "cloud.langfuse.com"}, "LANGFUSE_BASE_URL takes the address"),
        ({"LANGFUSE_BASE_URL": "https://"}, "LANGFUSE_BASE_URL takes the address"),
        ({"LANGFUSE_BASE_URL": "http://h:port"}, "LANGFUSE_BASE_URL takes the address"),
        ({"LANGFUSE_BASE_URL": "http://u:Xq7@h"}, "without user, password or query"),
        ({"LANGFUSE_BASE_URL": "http://h/api/public/otel"}, "without the path of an interface"),
        ({"LANGFUSE_TIMEOUT": "soon"}, "LANGFUSE_TIMEOUT takes seconds"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_start_with_the_mend(
    application, monkeypatch, changed, said
):
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        application.pipeline(langfuse_export=True)
    assert "OTEL_DBEVENTS_LANGFUSE_EXPORT is on, but " in str(refused.value)
    assert said in str(refused.value)
    assert "Xq7" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"langfuse": "summary"}, "there is nothing to send: set langfuse=slow_and_errors"),
        ({"langfuse": "off"}, "langfuse is off: set langfuse=summary"),
        ({"spans": False}, "spans is off"),
    ],
)
def test_settings_by_which_nothing_would_be_sent_are_refused(application, settings, said):
    with pytest.raises(ConfigError, match=said):
        application.pipeline(langfuse_export=True, **settings)


def test_a_provider_that_comes_later_sends_too(application, langfuse, monkeypatch):
    later = application.provider
    proxy = trace.ProxyTracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: proxy)
    application.provider = proxy
    pipeline = application.pipeline(langfuse_export=True)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: later)
    with later.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW)
    assert pipeline.flush()
    later.force_flush()
    assert langfuse.names == ["SELECT customers"]
    langfuse.public_key = "pk-lf-another"
    with later.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW)
    assert pipeline.flush()
    later.force_flush()
    assert pipeline.lost() == {"langfuse_export_failed": 1}


def test_a_pipeline_that_is_closed_has_sent_all_and_leaves_nothing_behind(application, langfuse):
    processors = len(application.provider._active_span_processor._span_processors)
    pipeline = application.pipeline(langfuse_export=True)
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW)
    pipeline.close()
    assert langfuse.names == ["SELECT customers"]
    assert len(application.provider._active_span_processor._span_processors) == processors


def test_what_langfuse_does_not_take_is_counted_and_said_without_a_key(
    application, langfuse, caplog
):
    langfuse.public_key = "pk-lf-another"
    pipeline = application.pipeline(langfuse_export=True)
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        for _ in range(3):
            application.happen(duration_ns=SLOW)
    with caplog.at_level(logging.WARNING):
        application.flush()
    assert pipeline.lost() == {"langfuse_export_failed": 3}
    (line,) = [each.getMessage() for each in caplog.records if "does not arrive" in each.msg]
    assert "(code: 401, the keys are not taken): check LANGFUSE_PUBLIC_KEY" in line
    assert langfuse.observations == []


def test_a_langfuse_that_is_busy_gets_them_a_moment_later(application, langfuse):
    application.pipeline(langfuse_export=True)
    langfuse.status = 503
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW)
    told = langfuse.refused

    class Once(list):
        def append(self, refusal):
            super().append(refusal)
            langfuse.status = 200

    langfuse.refused = Once(told)
    application.flush()
    assert [refusal[1] for refusal in langfuse.refused] == [503]
    assert langfuse.names == ["SELECT customers"]


def test_a_batch_that_is_too_large_for_one_request_goes_in_several(application, langfuse):
    tracer = application.provider.get_tracer("otel_dbevents")
    spans = [tracer.start_span("SELECT t", attributes={"text": "x" * 1_500_000}) for _ in range(5)]
    exporter = ObservationExporter(Destination.from_environment())
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert langfuse.names == ["SELECT t"] * 5
    sizes = [request.ByteSize() for request in langfuse.requests]
    assert len(sizes) > 1
    assert max(sizes) < 5_000_000


def test_a_redirect_takes_the_keys_nowhere(application, langfuse):
    with langfuse_server() as elsewhere:
        langfuse.redirect_to = elsewhere.endpoint
        pipeline = application.pipeline(langfuse_export=True)
        with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
            application.happen(duration_ns=SLOW)
        application.flush()
        assert elsewhere.refused == elsewhere.headers == elsewhere.asked == []
    assert pipeline.lost() == {"langfuse_export_failed": 1}


def test_what_the_collector_is_given_does_not_go_to_langfuse(application, langfuse, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=Xq7collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")
    application.pipeline(langfuse_export=True)
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW)
    application.flush()
    (headers,) = langfuse.headers
    assert headers["x-langfuse-ingestion-version"] == "4"
    assert headers["content-encoding"] == "gzip"
    assert "Xq7collector" not in str(headers)


def test_a_dead_langfuse_harms_nothing(application, langfuse, monkeypatch):
    monkeypatch.setenv("LANGFUSE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGFUSE_TIMEOUT", "0.2")
    pipeline = application.pipeline(langfuse_export=True)
    with application.provider.get_tracer("langfuse-sdk").start_as_current_span("answer"):
        application.happen(duration_ns=SLOW, llm=LLM)
    application.flush()
    assert pipeline.lost() == {"langfuse_export_failed": 1}
    assert pipeline.close(60)

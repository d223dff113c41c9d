"""The golden table: what Langfuse's own ingestion made of such spans when it was asked."""

import json

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.langfuse.observation import observation_of

MS = 1_000_000


def attributes(given):
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    return [
        KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value}))
        for key, value in given.items()
    ]


def stored(said=None, *, resource=None, scope="otel_dbevents", version="1", decodes=True, **more):
    given = {
        "trace_id": bytes(range(16)),
        "span_id": bytes(range(8)),
        "parent_span_id": bytes(range(1, 9)),
        "name": "SELECT users",
        "start_time_unix_nano": 5 * MS,
        "end_time_unix_nano": 9 * MS,
        **more,
    }
    return observation_of(
        Span(attributes=attributes(said or {}), **given),
        Resource(attributes=attributes(resource or {})),
        InstrumentationScope(name=scope, version=version),
        decodes=decodes,
    )


def test_nothing_of_the_conventions_is_mapped_and_events_are_gone():
    made = stored(
        {"db.query.text": "SELECT 1", "db.response.returned_rows": 3},
        events=[Span.Event(name="SlowQueryDetected")],
    )
    assert (made.type, made.level, made.input, made.output) == ("SPAN", "DEFAULT", None, None)
    assert made.metadata["attributes"] == {
        "db.query.text": "SELECT 1",
        "db.response.returned_rows": "3",
    }
    assert "SlowQueryDetected" not in json.dumps(made.metadata)


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        ("span", "SPAN"),
        ("tool", "TOOL"),
        ("retriever", "RETRIEVER"),
        ("event", "EVENT"),
        ("bogus", "SPAN"),
    ],
)
def test_the_type_is_the_one_that_is_named_if_there_is_such_a_type(wanted, made):
    assert stored({"langfuse.observation.type": wanted}).type == made


def test_what_is_said_in_langfuses_words_is_kept_and_numbers_become_texts():
    made = stored(
        {
            "langfuse.observation.level": "WARNING",
            "langfuse.observation.status_message": "slow",
            "langfuse.observation.input": "SELECT 1",
            "langfuse.observation.output": '{"rows": 3}',
            "langfuse.observation.metadata.db_duration_ms": 812.25,
            "langfuse.observation.metadata.db_rows": 3,
        }
    )
    assert (made.level, made.status_message) == ("WARNING", "slow")
    assert (made.input, made.output) == ("SELECT 1", '{"rows": 3}')
    assert (made.metadata["db_duration_ms"], made.metadata["db_rows"]) == ("812.25", "3")


def test_the_status_of_a_span_is_shown():
    made = stored(status=Status(code=Status.STATUS_CODE_ERROR, message="denied"))
    assert (made.level, made.status_message) == ("ERROR", "denied")


def test_a_bare_model_makes_a_generation():
    made = stored({"model": "User"})
    assert (made.type, made.model) == ("GENERATION", "User")


def test_bare_inputs_and_outputs_are_taken_and_vanish():
    given = {"input": "i", "output": "o", "prompt": "p", "events": "[]", "other": "x"}
    made = stored(given)
    assert made.input == "p"
    assert made.metadata["attributes"] == {"other": "x"}


def test_a_bare_user_becomes_the_traces():
    assert stored({"user.id": "row-99"}).user_id == "row-99"
    assert stored({"session.id": "s"}).session_id == "s"


@pytest.mark.parametrize(
    ("said", "kind", "name"),
    [
        ({"gen_ai.tool.name": "run_sql"}, "TOOL", "run_sql"),
        ({"gen_ai.data_source.id": "x"}, "SPAN", "SELECT users"),
        ({"gen_ai.usage.input_tokens": 5}, "SPAN", "SELECT users"),
    ],
)
def test_what_gen_ai_says_is_interpreted(said, kind, name):
    made = stored(said)
    assert (made.type, made.name) == (kind, name)
    assert made.usage == ({"input_tokens": 5} if "gen_ai.usage.input_tokens" in said else {})


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "ms"),
    [(5 * MS + 100, 5 * MS + 500_100, 0), (6 * MS - 100_000, 6 * MS + 100_000, 1)],
)
def test_times_are_floored_to_milliseconds_each_by_itself(start_ns, end_ns, ms):
    made = stored(start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)
    assert made.end_ms - made.start_ms == ms


def test_an_event_has_no_length_and_keeps_parent_and_input():
    made = stored(
        {"langfuse.observation.type": "event", "langfuse.observation.input": "{}"},
        end_time_unix_nano=5 * MS,
    )
    assert (made.type, made.parent_id, made.input) == ("EVENT", bytes(range(1, 9)).hex(), "{}")


@pytest.mark.parametrize(
    ("said", "resource", "environment"),
    [
        ({}, {}, "default"),
        ({"langfuse.environment": "Dev"}, {"langfuse.environment": "prod"}, "dev"),
        ({"deployment.environment.name": "a"}, {"langfuse.environment": "b"}, "b"),
        ({}, {"deployment.environment": "c"}, "c"),
        ({"langfuse.environment": "langfuse-x"}, {}, "default"),
        ({"langfuse.environment": "a b"}, {}, "default"),
        ({"langfuse.environment": "x" * 41}, {}, "default"),
    ],
)
def test_the_environment_is_langfuses_then_the_conventions_the_spans_first(
    said, resource, environment
):
    assert stored(said, resource=resource).environment == environment


@pytest.mark.parametrize(
    ("scope", "version", "decodes", "tenant"),
    [
        ("langfuse-sdk", "5.0.4", True, "acme"),
        ("langfuse-sdk", "4.7.0", True, '"acme"'),
        ("langfuse-sdk", "5.0.4", False, '"acme"'),
        ("otel_dbevents", "5.0.0", True, '"acme"'),
    ],
)
def test_metadata_is_decoded_for_langfuses_sdk_5_alone(scope, version, decodes, tenant):
    said = {"langfuse.trace.metadata.tenant": '"acme"'}
    made = stored(said, scope=scope, version=version, decodes=decodes)
    assert made.metadata["tenant"] == tenant
    assert ("attributes" in made.metadata) == (scope == "otel_dbevents")

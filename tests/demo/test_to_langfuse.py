"""With keys for a Langfuse, its own client sends what the demonstration shows."""

import re
from collections.abc import Iterator

import pytest

from otel_dbevents.demo import to_langfuse
from otel_dbevents.demo.telemetry import Telemetry
from otel_dbevents.demo.to_langfuse import ToLangfuse
from tests.demo.running import demo
from tests.langfuse.server import langfuse_server


def test_every_question_is_an_observation_with_its_answer_and_its_roll_up(sent):
    told, server = sent
    questions = {each.trace_id: each for each in server.observations if each.name == "question"}
    assert len(questions) == 12
    for prompt in told.whole["prompts"]:
        question = questions[prompt["trace_id"]]
        assert question.is_root
        assert question.input == prompt["question"]
        assert question.output in str(told.whole["scenes"])
        count = str(prompt["roll_up"]["db_query_count"])
        assert question.metadata["db_query_count"] == count


def test_the_assistants_spans_are_observations_and_the_databases_cost_none(sent):
    told, server = sent
    kinds = {each.type for each in server.observations}
    assert kinds == {"SPAN", "AGENT", "GENERATION", "TOOL"}
    ids = {span["span_id"] for span in told.all_spans if span["scope"] == "otel_dbevents"}
    assert ids
    assert not ids & {each.id for each in server.observations}


def test_what_is_shown_is_what_langfuse_has(sent):
    told, server = sent
    agents = {each.trace_id: each for each in server.observations if each.type == "AGENT"}
    for prompt in told.whole["prompts"]:
        metadata = agents[prompt["trace_id"]].metadata
        assert {key: metadata[key] for key in prompt["roll_up"]} == {
            key: str(value) for key, value in prompt["roll_up"].items()
        }


def test_how_many_were_sent_and_to_where_is_told_and_the_key_is_not(sent):
    told, server = sent
    (one,) = told.whole["sent"]
    assert (one["signal"], one["endpoint"]) == ("observations", server.endpoint)
    assert (one["taken"], one["refused"]) == (len(server.observations), 0)
    assert server.refused == []
    assert server.secret_key not in str(told.whole)


def test_what_langfuse_refuses_is_told_and_the_run_goes_on():
    with langfuse_server() as server:
        variables = server.variables | {"LANGFUSE_SECRET_KEY": "sk-lf-wrong-Xq7langfuse"}
        finished = demo("--scene", "commit", variables=variables)
    assert finished.returncode == 0
    assert "CommitFailed" in finished.stdout
    why = rf"observations by langfuse to {server.endpoint}: code: 401"
    assert re.search(rf"NOT SENT: ([1-9]\d*) of \1 {why}", finished.stdout)
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.fixture
def telemetry(monkeypatch) -> Iterator[Telemetry]:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "BASE_URL", "HOST"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    made = Telemetry("tests")
    yield made
    made.close()


def test_without_keys_nothing_is_sent_and_nothing_is_told(telemetry, monkeypatch):
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-tests")  # one alone is none
    langfuse = ToLangfuse(telemetry)
    with langfuse.asked("Why?") as answered:
        answered("So.")
    langfuse.close()
    assert telemetry.sent == []


def test_without_the_client_it_says_what_to_install(telemetry, monkeypatch):
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-tests")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-Xq7langfuse")
    monkeypatch.setenv("LANGFUSE_HOST", "http://user:Xq7langfuse@langfuse.example/")
    monkeypatch.setattr(to_langfuse, "find_spec", lambda _: None)
    with ToLangfuse(telemetry).asked("Why?") as answered:
        answered("So.")
    (one,) = telemetry.sent
    assert one.reason == "langfuse is not installed; pip install 'otel-dbevents[langfuse]'"
    assert one.endpoint.endswith("langfuse.example")
    assert "Xq7langfuse" not in one.endpoint

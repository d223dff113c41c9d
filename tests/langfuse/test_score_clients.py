"""Which of the application's own Langfuse clients gets the scores, and that none is ever made."""

import os
import threading
from importlib.metadata import version
from typing import NamedTuple

import pytest
from langfuse import Langfuse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_dbevents.langfuse.clients import Clients
from otel_dbevents.langfuse.scores import Scores
from tests.langfuse.server import langfuse_server

TRACE, GENERATION = bytes(range(16)), b"\x01" * 8
STARTS_ANEW_IN_A_CHILD = int(version("langfuse").split(".")[0]) >= 5


class Caused(NamedTuple):
    query_count: int
    time_ns: int
    public_key: str | None


class Turn(NamedTuple):
    by_generation: dict


@pytest.fixture
def clients():
    """Give back what makes clients, each with a provider of its own, and forget them all."""
    from langfuse._client.resource_manager import LangfuseResourceManager

    def make(server, **changed):
        arguments = server.arguments | {"tracer_provider": TracerProvider(shutdown_on_exit=False)}
        return Langfuse(**arguments | changed)

    make.managers = LangfuseResourceManager._instances
    yield make
    LangfuseResourceManager.reset()


@pytest.fixture
def scores():
    made = Scores()
    yield made
    made.close()


def test_the_clients_own_flush_sends_them(langfuse, clients, scores):
    client = clients(langfuse)
    scores.take(TRACE, Turn({GENERATION: Caused(3, 1_500_000, langfuse.public_key)}))
    assert scores.settle(10)
    client.flush()
    sent = {
        each["id"]: (each["name"], each["value"], each["dataType"], each["observationId"])
        for each in langfuse.scores
    }
    begin = f"{TRACE.hex()}-{GENERATION.hex()}"
    assert sent == {
        f"{begin}-db_time_ms": ("db_time_ms", 1.5, "NUMERIC", GENERATION.hex()),
        f"{begin}-db_query_count": ("db_query_count", 3.0, "NUMERIC", GENERATION.hex()),
    }
    assert {each["traceId"] for each in langfuse.scores} == {TRACE.hex()}
    assert (langfuse.refused, scores.lost) == ([], {})


def test_a_generation_of_no_client_goes_to_the_only_one_that_there_is(langfuse, clients, scores):
    client = clients(langfuse)
    scores.take(TRACE, Turn({GENERATION: Caused(3, 1, None)}))
    assert scores.settle(10)
    client.flush()
    assert len(langfuse.scores) == 2


def test_of_two_clients_each_gets_its_own_and_neither_what_is_nobodys(langfuse, clients, scores):
    with langfuse_server() as other:
        other.public_key = "pk-lf-other"
        made = [clients(langfuse), clients(other)]
        for number, key in enumerate((langfuse.public_key, other.public_key, None)):
            scores.take(TRACE, Turn({bytes([number] * 8): Caused(number + 1, 1, key)}))
        assert scores.settle(10)
        for client in made:
            client.flush()
        for number, server in enumerate((langfuse, other)):
            assert {each["observationId"] for each in server.scores} == {f"0{number}" * 8}
            assert server.refused == []
    assert scores.lost == {"score_no_client": 1}


@pytest.mark.parametrize("key", [None, "pk-lf-unknown"])
def test_no_client_is_ever_made(clients, scores, monkeypatch, key):
    for name in ("PUBLIC", "SECRET"):
        monkeypatch.setenv(f"LANGFUSE_{name}_KEY", "lf-Xq7key")
    threads = threading.active_count()
    assert Clients().get(key) is None
    scores.take(TRACE, Turn({GENERATION: Caused(1, 1, key)}))
    assert scores.settle(10)
    assert (scores.lost, clients.managers) == ({"score_no_client": 1}, {})
    assert threading.active_count() <= threads + 1
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_a_client_that_was_shut_down_is_given_nothing(langfuse, clients, scores, caplog):
    client = clients(langfuse)
    client.shutdown()
    scores.take(TRACE, Turn({GENERATION: Caused(1, 1, langfuse.public_key)}))
    assert scores.settle(10)
    client.flush()  # would wait for ever
    assert (langfuse.scores, scores.lost) == ([], {"score_no_client": 1})
    assert "Langfuse client has been shut down" not in caplog.text


def test_a_client_made_anew_under_the_same_key_is_the_one_that_is_taken(langfuse, clients, scores):
    for _ in range(2):
        client = clients(langfuse)
        scores.take(TRACE, Turn({GENERATION: Caused(1, 1, langfuse.public_key)}))
        assert scores.settle(10)
        client.flush()
        type(client._resources).reset()
    assert (len(langfuse.scores), scores.lost) == (4, {})


def test_in_a_forked_child_only_a_client_whose_threads_are_there_is_given_any(
    langfuse, clients, scores
):
    client = clients(langfuse)
    child = os.fork()
    if child == 0:
        well = False
        try:
            scores.take(TRACE, Turn({GENERATION: Caused(1, 1, langfuse.public_key)}))
            well = scores.settle(10)
            client._resources._stop_and_join_consumer_threads()
            well = well and scores.lost == (
                {} if STARTS_ANEW_IN_A_CHILD else {"score_no_client": 1}
            )
        finally:
            os._exit(0 if well else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(langfuse.scores) == (2 if STARTS_ANEW_IN_A_CHILD else 0)


@pytest.mark.parametrize(("flush_at", "most"), [(None, 15), (100, 15), (1, 1)])
def test_a_langfuse_that_does_not_answer_has_one_batch_of_them_at_the_most(
    langfuse, clients, scores, flush_at, most
):
    client = clients(langfuse, flush_at=flush_at)
    queue = getattr(client._resources, "_score_queue", None) or (
        client._resources._score_ingestion_queue
    )
    with langfuse.lock:  # it takes nothing while this is held
        for number in range(100):
            turn = Turn({number.to_bytes(8): Caused(1, 1, langfuse.public_key)})
            scores.take(TRACE, turn)
        assert not scores.settle(0.5)
        assert queue.unfinished_tasks == most
    scores.close()
    assert scores.settle(10)
    assert scores.lost["score_no_client"] > 50

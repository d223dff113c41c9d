"""Scores: what a generation caused becomes two numbers, given to the client that it belongs to."""

import logging
import os
import threading
from typing import NamedTuple

import pytest

from otel_dbevents.langfuse.scores import Scores

TRACE, GENERATION, OTHER = bytes(range(16)), b"\x01" * 8, b"\x02" * 8


class Caused(NamedTuple):
    query_count: int
    time_ns: float
    public_key: str | None = "pk"


class Turn(NamedTuple):
    by_generation: dict


class Client:
    """Stands at our seam: takes scores, and says who called."""

    def __init__(self, fails_on=(), room=None):
        self.scores = []
        self.threads = set()
        self.room = room
        self.is_full = threading.Event()
        self._fails_on = fails_on

    def takes_scores(self):
        return self.room != 0

    def has_room(self):
        has_room = self.room is None or len(self.scores) < self.room
        if not has_room:
            self.is_full.set()
        return has_room

    def create_score(self, **score):
        self.threads.add(threading.current_thread().name)
        if score["name"] in self._fails_on:
            raise RuntimeError("the queue is gone")
        self.scores.append(score)

    @property
    def values(self):
        return {score["score_id"].partition("-")[2]: score["value"] for score in self.scores}


def scored(by_generation, find_client):
    scores = Scores(find_client)
    scores.take(TRACE, Turn(by_generation))
    assert scores.settle(60)
    scores.close()
    return scores


def test_each_generation_that_caused_work_has_its_time_and_its_count():
    client = Client()
    caused = {GENERATION: Caused(200, 12_345_678), OTHER: Caused(1, 400)}
    assert scored(caused, lambda key: client).lost == {}
    assert client.values == {
        "0101010101010101-db_time_ms": 12.346,
        "0101010101010101-db_query_count": 200.0,
        "0202020202020202-db_time_ms": 0.0,
        "0202020202020202-db_query_count": 1.0,
    }
    first = client.scores[0]
    assert (first["trace_id"], first["observation_id"]) == (TRACE.hex(), GENERATION.hex())
    assert first["score_id"] == f"{TRACE.hex()}-{GENERATION.hex()}-db_time_ms"
    assert {score["data_type"] for score in client.scores} == {"NUMERIC"}


def test_sent_again_a_number_has_the_same_id():
    client = Client()
    for count in (1, 2):
        scored({GENERATION: Caused(count, 1)}, lambda key: client)
    assert len({score["score_id"] for score in client.scores}) == 2
    assert client.values["0101010101010101-db_query_count"] == 2


def test_a_generation_that_caused_nothing_has_no_score():
    client = Client()
    scored({GENERATION: Caused(0, 0)}, lambda key: client)
    scored({}, lambda key: client)
    assert client.scores == []


@pytest.mark.parametrize("time", [float("inf"), float("nan")])
def test_what_is_no_number_is_not_sent(time):
    client = Client()
    scored({GENERATION: Caused(3, time)}, lambda key: client)
    assert [score["name"] for score in client.scores] == ["db_query_count"]


def test_the_client_is_called_by_a_worker_and_never_by_the_application():
    client = Client()
    scored({GENERATION: Caused(1, 1)}, lambda key: client)
    assert client.threads == {"otel-dbevents-langfuse-scores"}


def test_each_generation_goes_to_the_client_of_its_key():
    clients = {"pk": Client(), "other": Client()}
    scored({GENERATION: Caused(1, 1), OTHER: Caused(2, 2, "other")}, clients.get)
    assert [len(each.scores) for each in clients.values()] == [2, 2]
    assert {each["observation_id"] for each in clients["other"].scores} == {OTHER.hex()}


@pytest.mark.swallows
def test_a_client_that_raises_is_counted_and_logged_once_and_the_next_is_scored(caplog):
    bad, good = Client(fails_on={"db_time_ms"}), Client()
    caused = {bytes([n] * 8): Caused(1, 1, "bad") for n in range(4, 8)} | {OTHER: Caused(1, 1)}
    scores = scored(caused, lambda key: bad if key == "bad" else good)
    assert scores.lost == {"score_error": 4}
    assert len(good.scores) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("Langfuse's client took no score: RuntimeError < ")
    assert "the queue is gone" not in record.getMessage()


def test_without_a_client_it_is_counted_and_said_once(caplog):
    caused = {GENERATION: Caused(1, 1, None), OTHER: Caused(1, 1)}
    assert scored(caused, lambda key: None).lost == {"score_no_client": 2}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "no Langfuse client in this process takes them" in record.getMessage()


def test_a_client_that_takes_nothing_any_more_is_given_nothing():
    client = Client(room=0)
    assert scored({GENERATION: Caused(1, 1)}, lambda key: client).lost == {"score_no_client": 1}
    assert client.scores == []


def test_a_client_that_sends_nothing_is_not_filled_up_and_gets_the_rest_when_it_does():
    client = Client(room=3)
    scores = Scores(lambda key: client)
    scores.take(TRACE, Turn({bytes([n] * 8): Caused(1, 1) for n in range(5)}))
    assert client.is_full.wait(60)
    assert not scores.settle(0.1)
    assert len(client.scores) == 3
    client.room = 100
    assert scores.settle(60)
    assert len(client.scores) == 10
    scores.close()


def test_the_close_does_not_wait_for_a_client_that_sends_nothing():
    client = Client(room=2)
    scores = Scores(lambda key: client)
    scores.take(TRACE, Turn({bytes([n] * 8): Caused(1, 1) for n in range(3)}))
    assert not scores.settle(0.05)
    scores.close()
    assert scores.settle(60)
    assert (len(client.scores), scores.lost) == (2, {"score_no_client": 2})


def test_turns_that_are_too_many_give_way_and_are_counted():
    go, is_held, client = threading.Event(), threading.Event(), Client()

    def find(key):
        is_held.set()
        go.wait(60)
        return client

    scores = Scores(find)
    scores.take(TRACE, Turn({GENERATION: Caused(1, 1)}))
    assert is_held.wait(60)  # the worker has this one, and takes no other until it may go on
    for number in range(1_200):
        scores.take(number.to_bytes(16), Turn({GENERATION: Caused(1, 1)}))
    assert not scores.settle(0.01)
    go.set()
    assert scores.settle(60)
    scores.close()
    assert scores.lost == {"score_queue_full": 200}
    assert len(client.scores) / 2 == 1_001


def test_after_the_close_nothing_is_taken_and_what_was_taken_is_scored():
    client = Client()
    scores = Scores(lambda key: client)
    scores.take(TRACE, Turn({GENERATION: Caused(1, 1)}))
    scores.close()
    scores.take(TRACE, Turn({OTHER: Caused(1, 1)}))
    assert scores.settle(60)
    assert {each["observation_id"] for each in client.scores} == {GENERATION.hex()}


def test_a_forked_child_scores_its_own_turns_only():
    go, client = threading.Event(), Client()
    scores = Scores(lambda key: client if go.wait(60) else None)
    scores.take(TRACE, Turn({GENERATION: Caused(1, 1)}))
    child = os.fork()
    if child == 0:
        try:
            go.set()
            scores.take(TRACE, Turn({OTHER: Caused(1, 1)}))
            well = scores.settle(60)
            own = {each["observation_id"] for each in client.scores} == {OTHER.hex()}
        finally:
            os._exit(0 if well and own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    assert scores.settle(60)
    scores.close()
    assert {each["observation_id"] for each in client.scores} == {GENERATION.hex()}

"""Whichever of Langfuse's client and ``import otel_dbevents.auto`` comes first, it is the same.

Each is an application in a process of its own, from its start to its end.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import pytest
from langfuse._client.span_processor import LangfuseSpanProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_dbevents.exporters.joining import exporters_to_join, join
from otel_dbevents.llm import shared
from tests.demo.receiver import receiving
from tests.langfuse.application import IS_5
from tests.langfuse.server import langfuse_server
from tests.outage.hostile import hostile

AUTO, CLIENT = "import otel_dbevents.auto\n", "client = __import__('langfuse').Langfuse()\n"
INSTRUMENT = "__import__('otel_dbevents').instrument()\n"
ORDERS = {
    "auto first": AUTO + CLIENT,
    "client first": CLIENT + AUTO,
    "client when it is used": f"import langfuse\n{AUTO}client = langfuse.get_client()\n",
}
BY_HAND = {
    "client, instrument": CLIENT + INSTRUMENT,
    "instrument, and the client makes the provider": INSTRUMENT + CLIENT,
}
TURN = """
import time
from sqlalchemy import create_engine, text

engine = create_engine("sqlite://")
def query():
    with engine.connect() as connection:
        return connection.execute(text("SELECT 1 AS one")).scalar()
def turn():
    with client.start_as_current_observation(name="agent", as_type="agent"):
        client.start_observation(name="chat", as_type="generation").end()
        return query()
"""
MAIN = TURN + "print(turn() and query(), time.monotonic(), flush=True)\n"
FORKED = f"""{TURN}
import os, sys
child = os.fork()
if child == 0:
    turn()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic(), flush=True)
"""
TURNED = {"agent": 1, "chat": None}
EXPORTER_WAITS_S = 100
PATIENT = {"OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "60000", "LANGFUSE_TIMEOUT": "60"}
"""A machine that has other work loses nothing either."""


class Ended(NamedTuple):
    status: int
    printed: str
    said: str
    took_s: float
    """From its last line on."""
    langfuse: dict[str, int | None]
    """The observations that Langfuse got, and how many queries they say."""
    scores: list[str]
    collector: list[str]


Ends: TypeAlias = dict[str, "Future[Ended]"]


def run(script: str, endpoint: str = "", **variables: str) -> Ended:
    """Run an application beside a Langfuse, to its end."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "LANGFUSE_", "COV_", "COVERAGE_"))
    }
    kept |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    kept |= {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    kept |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {}
    kept |= PATIENT
    with langfuse_server() as server:
        server.needs_version = False  # the oldest client does not say it
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=kept | server.variables | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * EXPORTER_WAITS_S,
        )
        ended = time.monotonic()
        assert server.refused == []
        assert done.stdout, done.stderr
        printed, at_the_end = done.stdout.split()
        counts = {each.name: each.metadata.get("db_query_count") for each in server.observations}
        return Ended(
            done.returncode,
            printed,
            done.stderr,
            ended - float(at_the_end),
            {name: None if count is None else int(count) for name, count in counts.items()},
            sorted(score["name"] for score in server.scores),
            [],
        )


def collected(script: str, **variables: str) -> Ended:
    """Run it beside a collector too."""
    with receiving() as receiver:
        ended = run(script, receiver.endpoint, **variables)
        names = sorted(span.name for span in receiver.spans)
        # A thread that was not let run for a millisecond has waited for its connection, in truth.
        return ended._replace(collector=[each for each in names if each != "CHECKOUT :memory:"])


def held_up(script: str) -> Ended:
    """Run it beside a collector that never answers; an exporter by itself would wait for long."""
    variables = {
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "500",
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(EXPORTER_WAITS_S),
    }
    with hostile("hanging") as collector:
        return run(script, collector.endpoint, **variables)


@pytest.fixture(scope="module")
def ends() -> Iterator[Ends]:
    """All of them, a few at a time."""
    first, last = ORDERS["client first"] + MAIN, ORDERS["auto first"] + MAIN
    scores = {"OTEL_DBEVENTS_LANGFUSE_SCORES": "true"}
    with ThreadPoolExecutor(3) as several:
        yield {
            **{o: several.submit(collected, do + MAIN, **scores) for o, do in ORDERS.items()},
            **{order: several.submit(run, do + MAIN) for order, do in BY_HAND.items()},
            "pigeon": several.submit(run, first, OTEL_TRACES_EXPORTER="pigeon"),
            "disabled": several.submit(run, last, OTEL_SDK_DISABLED="true"),
            "auto first, hanging": several.submit(held_up, last),
            "client first, hanging": several.submit(held_up, first),
            "fork, scores": several.submit(run, ORDERS["client first"] + FORKED, **scores),
        }


@pytest.mark.parametrize("order", ORDERS)
def test_the_collector_gets_all_spans_and_langfuse_those_of_llm_work(
    ends: Ends, order: str
) -> None:
    ended = ends[order].result()
    assert (ended.status, ended.printed, ended.said) == (0, "1", "")
    assert ended.collector == ["CONNECT :memory:", "SELECT", "SELECT", "agent", "chat"]
    assert ended.langfuse == TURNED


@pytest.mark.parametrize("order", BY_HAND)
def test_set_up_by_hand_the_order_decides_nothing_either(ends: Ends, order: str) -> None:
    ended = ends[order].result()
    assert (ended.status, ended.printed, ended.said) == (0, "1", "")
    assert (ended.langfuse, ended.scores) == (TURNED, [])


def test_a_wrong_variable_turns_us_off_in_one_line_and_langfuse_goes_on(ends: Ends) -> None:
    ended = ends["pigeon"].result()
    assert (ended.status, ended.printed) == (0, "1")
    assert ended.langfuse == {"agent": None, "chat": None}
    assert ended.said.count("otel_dbevents is off, the application runs on without it") == 1
    assert "Traceback" not in ended.said


def test_with_the_sdk_disabled_nothing_goes_anywhere_and_we_say_nothing(ends: Ends) -> None:
    ended = ends["disabled"].result()
    assert (ended.status, ended.printed, ended.langfuse) == (0, "1", {})
    assert "otel_dbevents" not in ended.said


@pytest.mark.parametrize("order", ["auto first", "client first"])
def test_a_collector_that_hangs_holds_up_neither_the_end_nor_langfuse(
    ends: Ends, order: str
) -> None:
    ended = ends[f"{order}, hanging"].result()
    assert (ended.status, ended.printed, ended.langfuse) == (0, "1", TURNED)
    assert ended.took_s < EXPORTER_WAITS_S / 2, ended


@pytest.mark.parametrize("order", ORDERS)
def test_the_scores_of_the_last_turn_go_out_at_the_end(ends: Ends, order: str) -> None:
    assert ends[order].result().scores == ["db_query_count", "db_time_ms"]


def test_a_forked_child_that_turns_ends_as_it_would(ends: Ends) -> None:
    ended = ends["fork, scores"].result()
    assert (ended.status, ended.printed) == (0, "7"), ended
    assert len(ended.scores) == (2 if IS_5 else 0)  # the older client has no threads in a child


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """Give a provider as Langfuse's client makes it, where no variable is set."""
    for name in [each for each in os.environ if each.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(
        LangfuseSpanProcessor(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9")
    )
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, 0),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, 0),
        ({"OTEL_TRACES_EXPORTER": "none"}, 0),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, 1),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, 1),
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, 2),
    ],
)
def test_langfuses_provider_is_joined_only_where_a_variable_says_where_traces_go(
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    number: int,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert len(exporters_to_join(provider)) == number


def test_a_provider_that_sends_spans_elsewhere_is_not_joined(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    shared.follow(provider)
    assert exporters_to_join(provider)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    assert not exporters_to_join(provider)
    assert not exporters_to_join(TracerProvider(shutdown_on_exit=False))


def test_a_provider_is_joined_once(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    join(provider, exporters_to_join(provider), 1, direct_otlp=True)
    assert not exporters_to_join(provider)

"""Whichever of Langfuse's client and ``import otel_dbevents.auto`` comes first, it is the same.

Each is an application in a process of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from otel_dbevents.exporters.joining import is_langfuses
from tests.demo.receiver import receiving
from tests.langfuse.server import langfuse_server
from tests.outage.hostile import hostile
from tests.outage.test_ends import GENEROUS_S

AUTO, CLIENT = "import otel_dbevents.auto", "client = __import__('langfuse').Langfuse()"
LATE = "import langfuse\nimport otel_dbevents.auto\nclient = langfuse.get_client()"
WORK = """
from sqlalchemy import create_engine, text

engine = create_engine("sqlite://")
with client.start_as_current_observation(name="agent", as_type="agent"):
    with engine.connect() as connection:
        print(connection.execute(text("SELECT 1 AS one")).scalar(), flush=True)
with engine.connect() as connection:
    connection.execute(text("SELECT 2 AS two")).all()
"""
ORDERS = {
    "auto first": f"{AUTO}\n{CLIENT}",
    "client first": f"{CLIENT}\n{AUTO}",
    "client when it is used": LATE,
}


class Ended(NamedTuple):
    status: int
    printed: str
    said: str
    took_s: float
    langfuse: list[str]
    """The observations that Langfuse got, by name."""
    collector: list[str]


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
    with langfuse_server() as server:
        server.needs_version = False  # the oldest client does not say it
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", script + WORK],
            env=kept | server.variables | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        took = time.monotonic() - began
        assert server.refused == []
        return Ended(done.returncode, done.stdout, done.stderr, took, server.names, [])


def collected(script: str, **variables: str) -> Ended:
    """Run it beside a collector too."""
    with receiving() as receiver:
        ended = run(script, receiver.endpoint, **variables)
        return ended._replace(collector=sorted(span.name for span in receiver.spans))


def held_up(script: str) -> Ended:
    with hostile("hanging") as collector:
        return run(script, collector.endpoint, OTEL_DBEVENTS_FLUSH_TIMEOUT_MS="500")


@pytest.fixture(scope="module")
def ends() -> Iterator[dict[str, "Future[Ended]"]]:
    """All of them, a few at a time."""
    first = ORDERS["client first"]
    with ThreadPoolExecutor(3) as several:
        yield {
            **{order: several.submit(collected, script) for order, script in ORDERS.items()},
            "unnamed": several.submit(run, first),
            "none": several.submit(collected, first, OTEL_TRACES_EXPORTER="none"),
            "pigeon": several.submit(run, first, OTEL_TRACES_EXPORTER="pigeon"),
            "auto first, hanging": several.submit(held_up, ORDERS["auto first"]),
            "client first, hanging": several.submit(held_up, first),
        }


@pytest.mark.parametrize("order", ORDERS)
def test_the_collector_gets_all_spans_and_langfuse_those_of_llm_work(
    ends: dict[str, "Future[Ended]"], order: str
) -> None:
    ended = ends[order].result()
    assert (ended.status, ended.printed, ended.said) == (0, "1\n", "")
    assert ended.collector == ["CONNECT :memory:", "SELECT", "SELECT", "agent"]
    assert ended.langfuse == ["agent"]


@pytest.mark.parametrize("how", ["unnamed", "none"])
def test_where_no_variable_says_where_traces_go_langfuses_provider_is_left_alone(
    ends: dict[str, "Future[Ended]"], how: str
) -> None:
    ended = ends[how].result()
    assert (ended.status, ended.printed, ended.said) == (0, "1\n", "")
    assert (ended.langfuse, ended.collector) == (["agent"], [])


def test_a_wrong_variable_turns_us_off_in_one_line_and_langfuse_goes_on(
    ends: dict[str, "Future[Ended]"],
) -> None:
    ended = ends["pigeon"].result()
    assert (ended.status, ended.printed, ended.langfuse) == (0, "1\n", ["agent"])
    assert ended.said.count("otel_dbevents is off, the application runs on without it") == 1
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("order", ["auto first", "client first"])
def test_a_collector_that_hangs_holds_up_neither_the_end_nor_langfuse(
    ends: dict[str, "Future[Ended]"], order: str
) -> None:
    ended = ends[f"{order}, hanging"].result()
    assert (ended.status, ended.printed, ended.langfuse) == (0, "1\n", ["agent"])
    assert ended.took_s < GENEROUS_S, ended


def test_a_provider_that_sends_spans_elsewhere_is_not_langfuses() -> None:
    from langfuse._client.span_processor import LangfuseSpanProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider(shutdown_on_exit=False)
    assert not is_langfuses(provider)
    provider.add_span_processor(
        LangfuseSpanProcessor(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9")
    )
    assert is_langfuses(provider)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    assert not is_langfuses(provider)
    provider.shutdown()

"""The way to Langfuse of a process of its own: all is sent at its end, and it does end."""

import os
import subprocess
import sys
from contextlib import contextmanager
from socket import socket

import pytest

from tests.langfuse.support import IS_5

PROGRAM = """
import otel_dbevents.auto
from opentelemetry import trace
from sqlalchemy import create_engine, text

engine = create_engine("sqlite://")
tracer = trace.get_tracer("openinference.instrumentation.shop")
with tracer.start_as_current_span("answer"), engine.connect() as connection:
    connection.execute(text("SELECT 1 AS Xq7")).all()
print("worked")
"""
WITH_CLIENT = """
{}
import langfuse
from sqlalchemy import create_engine, text

client = langfuse.get_client()
engine = create_engine("sqlite://")
with client.start_as_current_observation(name="answer"), engine.connect() as connection:
    connection.execute(text("SELECT 1 AS Xq7")).all()
print("worked")
"""
OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
"""
SETTINGS = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_DBEVENTS_LANGFUSE": "all",
    "OTEL_DBEVENTS_LANGFUSE_EXPORT": "true",
    "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "700",
}
LONGEST_S = 60


def run(variables, program=PROGRAM):
    """Run the program; that it ends is seen to."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV_", "COVERAGE_", "OTEL_", "LANGFUSE_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | SETTINGS | variables,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "worked\n"), done.stderr
    return done.stderr


@contextmanager
def silence():
    """A server that takes connections and answers nothing."""
    with socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_what_is_left_is_sent_when_the_process_ends(langfuse):
    assert run(langfuse.variables) == ""
    assert langfuse.names == ["SELECT"]
    assert langfuse.observation("SELECT").metadata["db_system"] == "sqlite"


@pytest.mark.parametrize(
    "begun",
    [
        "import otel_dbevents.auto",
        "import langfuse; langfuse.get_client(); import otel_dbevents.auto",
    ],
    ids=["we are first", "its client is first"],
)
def test_beside_langfuses_client_each_span_arrives_once(langfuse, begun):
    langfuse.needs_version = IS_5
    run(langfuse.variables, WITH_CLIENT.format(begun))
    assert langfuse.names == ["SELECT", "answer"]
    assert langfuse.observation("SELECT").parent_id == langfuse.observation("answer").id
    assert langfuse.observation("answer").metadata["db_query_count"] == "1"


@pytest.mark.parametrize(
    ("fate", "before"),
    [("hangs", ""), ("is gone", ""), ("hangs", OWN_PROVIDER)],
    ids=["hangs", "is gone", "hangs, and the provider is the application's"],
)
def test_a_langfuse_that_does_not_answer_does_not_hold_the_process(langfuse, fate, before):
    with silence() as address:
        base_url = address if fate == "hangs" else "http://127.0.0.1:9"
        variables = {
            **langfuse.variables,
            "LANGFUSE_BASE_URL": base_url,
            "LANGFUSE_TIMEOUT": str(2 * LONGEST_S),
        }
        said = run(variables, before + PROGRAM)
    assert "given up" in said or before
    assert langfuse.secret_key not in said


def test_a_wrong_way_is_said_in_one_line_and_the_application_runs_on(langfuse):
    said = run({**langfuse.variables, "LANGFUSE_SECRET_KEY": ""})
    assert said.count("\n") == 1
    assert "LANGFUSE_SECRET_KEY is not set: take the keys from your project's settings" in said

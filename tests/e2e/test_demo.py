"""`make demo` with a collector: what it prints is what the backends hold."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.langfuse.observation import Observation
from tests.langfuse.server import LangfuseServer, langfuse_server
from tests.services.collector import LANGFUSE, Collector
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e


def play(settings: dict[str, str]) -> dict[str, Any]:
    """Run the demonstration with these variables, and return what it told."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_dbevents", "demo", "--json"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def kept(langfuse: LangfuseServer, kind: str) -> list[Observation]:
    """Return the observations of a type."""
    return [each for each in langfuse.observations if each.type == kind]


@pytest.mark.beside
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_same_run_goes_to_the_collector(
    collector: Collector, jaeger: Jaeger, protocol: str
) -> None:
    service = f"demo-{protocol[:4]}"
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    settings = {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    printed = {
        span["span_id"]: span["name"]
        for scene in play(settings)["scenes"]
        for span in scene["spans"]
    }

    def held() -> dict[str, Any]:
        traces = jaeger.traces(service)
        return {span["span_id"]: span["name"] for spans in traces.values() for span in spans}

    wait_until(lambda: len(held()) >= len(printed))
    assert held() == printed


@pytest.mark.beside
def test_the_collector_hands_langfuse_each_prompt_with_its_roll_up(tmp_path: Path) -> None:
    """As docker-compose does it, where the demonstration itself knows of no Langfuse."""
    with langfuse_server() as langfuse:
        keys = f"{langfuse.public_key}:{langfuse.secret_key}".encode()
        settings = {
            "LANGFUSE_HOST": langfuse.endpoint,
            "LANGFUSE_AUTH": base64.b64encode(keys).decode(),
        }
        with run_collector(tmp_path, also=(LANGFUSE,), settings=settings) as collector:
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_grpc}
            told = play(endpoint | {"OTEL_DBEVENTS_LANGFUSE": "slow_and_errors"})
            wait_until(lambda: len(kept(langfuse, "AGENT")) == len(told["prompts"]))
            wait_until(lambda: any(each.level == "WARNING" for each in langfuse.observations))
    agents = {each.trace_id: each for each in kept(langfuse, "AGENT")}
    for prompt in told["prompts"]:
        metadata = agents[prompt["trace_id"]].metadata
        assert metadata["db_query_count"] == str(prompt["roll_up"]["db_query_count"])
        assert float(metadata["db_share"]) == prompt["roll_up"]["db_share"]
    slow = next(each for each in langfuse.observations if each.level == "WARNING")
    assert slow.metadata["db_caused_by_generation_name"] == "chat scripted-sql"
    assert langfuse.refused == []

"""`make demo` with a collector: what it prints is what the backends hold."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.services.collector import Collector
from tests.services.jaeger import Jaeger
from tests.services.process import wait_until

pytestmark = pytest.mark.e2e


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
    done = subprocess.run(
        [sys.executable, "-m", "otel_dbevents", "demo", "--json"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = {
        span["span_id"]: span["name"]
        for scene in json.loads(done.stdout)["scenes"]
        for span in scene["spans"]
    }

    def held() -> dict[str, Any]:
        traces = jaeger.traces(service)
        return {span["span_id"]: span["name"] for spans in traces.values() for span in spans}

    wait_until(lambda: len(held()) >= len(printed))
    assert held() == printed

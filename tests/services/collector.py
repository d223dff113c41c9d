"""The collector with the project's own configuration, killed and restarted at will."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import COLLECTOR, REPOSITORY, require
from tests.services.web import answers

CONFIG = REPOSITORY / "collector-config.yaml"
LANGFUSE = REPOSITORY / "deploy" / "collector" / "langfuse.yaml"
FILE = REPOSITORY / "deploy" / "collector" / "file.yaml"
LINES = REPOSITORY / "deploy" / "collector" / "lines.yaml"


@dataclass(frozen=True)
class Collector:
    """A running collector. `process.kill()` and `process.start()` keep its ports and its queues."""

    process: Process
    otlp_grpc: str
    """URL for OTLP by gRPC."""
    otlp_http: str
    """URL for OTLP by HTTP; exporters add /v1/traces and the like."""
    metrics: str
    """host:port of the applications' metrics, for Prometheus."""
    own_metrics: str
    """host:port of the collector's metrics about itself."""
    storage: Path
    """The directory of its queues."""


@contextmanager
def collector(
    directory: Path,
    *,
    jaeger: str = "127.0.0.1:9",
    loki: str = "http://127.0.0.1:9/otlp",
    also: tuple[Path, ...] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Collector]:
    """Run collector-config.yaml, and the files in `also` on top, on free ports.

    A backend that is not given is port 9, where nobody listens: an outage.
    """
    binary = require(COLLECTOR)
    ports = free_ports(5)
    grpc, http, metrics, health, own = (f"127.0.0.1:{port}" for port in ports)
    storage = directory / "storage"
    environment = {
        "OTELCOL_OTLP_GRPC_ENDPOINT": grpc,
        "OTELCOL_OTLP_HTTP_ENDPOINT": http,
        "OTELCOL_PROMETHEUS_ENDPOINT": metrics,
        "OTELCOL_HEALTH_ENDPOINT": health,
        "OTELCOL_METRICS_PORT": str(ports[4]),
        "OTELCOL_STORAGE_DIR": str(storage),
        "JAEGER_OTLP_ENDPOINT": jaeger,
        "LOKI_OTLP_ENDPOINT": loki,
        **(settings or {}),
    }
    command = [str(binary), *(f"--config={path}" for path in (CONFIG, *also))]
    process = Process(
        "collector", command, directory, lambda: answers(f"http://{health}/"), environment
    )
    process.start()
    try:
        yield Collector(process, f"http://{grpc}", f"http://{http}", metrics, own, storage)
    finally:
        process.stop()


def validate(*configs: Path, settings: Mapping[str, str] | None = None) -> str:
    """Return what the collector has to say against these files together; empty = nothing."""
    command = [str(require(COLLECTOR)), "validate", *(f"--config={path}" for path in configs)]
    done = subprocess.run(
        command, check=False, env=dict(settings or {}), capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else done.stderr

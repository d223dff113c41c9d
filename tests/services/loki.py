"""Loki with the project's own configuration, and its query API."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import LOKI, REPOSITORY, require
from tests.services.web import answers, get, get_json


@dataclass(frozen=True)
class Record:
    """One log record: `labels` holds Loki's stream labels and structured metadata together."""

    time_ns: int
    body: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Loki:
    """A running Loki."""

    process: Process
    url: str

    @property
    def otlp(self) -> str:
        """The URL to give an OTLP/HTTP exporter."""
        return f"{self.url}/otlp"

    def records(self, service: str, limit: int = 5000) -> list[Record]:
        """Return a service's log records, oldest first; dots in names have become underscores."""
        answer = get_json(f"{self.url}/loki/api/v1/query_range", _question(service, limit))
        records = [
            Record(int(value[0]), value[1], stream["stream"])
            for stream in answer["data"]["result"]
            for value in stream["values"]
        ]
        return sorted(records, key=lambda record: record.time_ns)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return what a LogQL query finds in the last day: streams with lines, or series."""
        question = {"query": query, "limit": "1000", "since": "24h", "step": "1h"}
        answer = get_json(f"{self.url}/loki/api/v1/query_range", question)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def everything(self, service: str) -> bytes:
        """Return what Loki answers when asked for a service's records, unparsed."""
        return get(f"{self.url}/loki/api/v1/query_range", **_question(service, 5000))


def _question(service: str, limit: int) -> dict[str, str]:
    query = f'{{service_name="{service}"}}'
    return {"query": query, "limit": str(limit), "since": "24h", "direction": "forward"}


_AT_ONCE = (
    # Its parts look for each other at the start, and else again after ten seconds only.
    "-frontend.scheduler-dns-lookup-period=100ms",
    "-querier.dns-lookup-period=100ms",
)


@contextmanager
def loki(directory: Path, *, start: bool = True) -> Iterator[Loki]:
    """Run Loki with deploy/loki/loki.yaml on free ports."""
    binary = require(LOKI)
    port, grpc = free_ports(2)
    settings = {"LOKI_HTTP_PORT": str(port), "LOKI_GRPC_PORT": str(grpc), "LOKI_DIR": "data"}
    config = REPOSITORY / "deploy" / "loki" / "loki.yaml"
    url = f"http://127.0.0.1:{port}"
    process = Process(
        "loki",
        [binary, f"-config.file={config}", "-config.expand-env=true", *_AT_ONCE],
        directory,
        lambda: answers(f"{url}/ready"),
        settings,
    )
    if start:
        process.start()
    try:
        yield Loki(process, url)
    finally:
        process.kill()  # nothing to keep

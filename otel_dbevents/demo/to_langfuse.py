"""The same run as Langfuse's own client sends it, where keys for a Langfuse are set.

The client is made over the demonstration's tracer provider, so the assistant's GenAI spans are its
observations too; each question gets one of its own above them, with what was asked and answered.
"""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias

from otel_dbevents.config import Config
from otel_dbevents.demo.telemetry import Sent, Telemetry
from otel_dbevents.events import redact
from otel_dbevents.langfuse import langfuse_filter

CLOUD = "https://cloud.langfuse.com"
Answering: TypeAlias = Callable[[str], None]
"""Is called with the answer, once it is there."""


class ToLangfuse:
    """Langfuse's client, if there are keys and the client is installed; else it does nothing."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._client: Any = None
        public, secret = (os.environ.get(f"LANGFUSE_{name}_KEY") for name in ("PUBLIC", "SECRET"))
        if not (public and secret):
            return
        sent = Sent("observations", "langfuse", redact(_base_url()))
        telemetry.sent.append(sent)
        if find_spec("langfuse") is None:
            sent.reason = "langfuse is not installed; pip install 'otel-dbevents[langfuse]'"
            return
        self._client = _client(public, secret, telemetry, sent)

    @contextmanager
    def asked(self, question: str) -> Iterator[Answering]:
        """Have what happens within the block below an observation of the question."""
        if self._client is None:
            yield lambda _: None
            return
        with self._client.start_as_current_observation(
            name="question", as_type="span", input=question
        ) as observation:
            yield lambda answer: observation.update(output=answer)

    def close(self) -> None:
        """Shut the client down; what it was to send has been sent by then."""
        if self._client is not None:
            self._client.shutdown()


def _base_url() -> str:
    names = ("LANGFUSE_BASE_URL", "LANGFUSE_HOST")
    return next(filter(None, map(os.environ.get, names)), CLOUD).rstrip("/")


def _client(public: str, secret: str, telemetry: Telemetry, sent: Sent) -> Any:
    from langfuse import Langfuse
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    keys = base64.b64encode(f"{public}:{secret}".encode()).decode()
    exporter = OTLPSpanExporter(
        endpoint=f"{_base_url()}/api/public/otel/v1/traces",
        headers={"Authorization": f"Basic {keys}", "x-langfuse-ingestion-version": "4"},
        compression=Compression.Gzip,
        timeout=5,
    )
    return Langfuse(
        public_key=public,
        secret_key=secret,
        base_url=_base_url(),
        tracer_provider=telemetry.tracer_provider,
        span_exporter=telemetry.counted(exporter, sent),
        # which sends the single queries that were chosen, unless they are sent another way
        should_export_span=None if Config().langfuse_export else langfuse_filter(),
    )

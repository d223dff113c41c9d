"""An application with LLM work in it: a provider, Langfuse's client on it, and a database."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import StaticPool

import otel_dbevents
from otel_dbevents.llm import shared

METADATA = "langfuse.observation.metadata."


@dataclass
class App:
    """What a test has of the application."""

    provider: TracerProvider
    spans: InMemorySpanExporter
    exported: InMemorySpanExporter
    """What Langfuse's own processor let through to Langfuse."""
    clients: list[Any] = field(default_factory=list)
    pipelines: list[otel_dbevents.Pipeline] = field(default_factory=list)
    engine: Engine = field(
        default_factory=lambda: create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    )

    def langfuse(self, key: str = "pk-test", **options: Any) -> Any:
        """Make a client of Langfuse's on the provider."""
        given: dict[str, Any] = {"tracer_provider": self.provider, "span_exporter": self.exported}
        made = Langfuse(
            public_key=key, secret_key="sk", base_url="http://127.0.0.1:9", **given | options
        )
        self.clients.append(made)
        return made

    def observe(self, **settings: Any) -> otel_dbevents.Pipeline:
        """Begin to observe the engine."""
        config = otel_dbevents.Config(**settings)
        made = otel_dbevents.Pipeline(tracer_provider=self.provider, config=config)
        made.attach(self.engine)
        self.pipelines.append(made)
        return made

    def tracer(self, scope: str = "application", version: str = "1") -> trace.Tracer:
        return self.provider.get_tracer(scope, version)

    def query(self, number: int = 1, sql: str = "SELECT 1") -> None:
        with self.engine.connect() as connection:
            for _ in range(number):
                connection.execute(text(sql)).fetchall()

    def flush(self) -> None:
        for pipeline in self.pipelines:
            assert pipeline.flush()
        for client in self.clients:
            client.flush()

    def span(self, name: str) -> ReadableSpan:
        """Return the one span of that name."""
        (found,) = self.named(name)
        return found

    def named(self, name: str) -> list[ReadableSpan]:
        self.flush()
        return [each for each in self.spans.get_finished_spans() if each.name == name]

    def written(self, name: str) -> dict[str, Any]:
        """Return what was rolled up on the span of that name."""
        return written(self.span(name))

    def causes(self) -> list[str]:
        """Return by which generations the queries say that they were caused."""
        name = METADATA + "db_caused_by_generation_name"
        return [str((each.attributes or {}).get(name)) for each in self.named("SELECT")]


def written(span: ReadableSpan) -> dict[str, Any]:
    """Return what was rolled up on a span, without the keys' prefix."""
    said = (span.attributes or {}).items()
    return {
        key.removeprefix(METADATA): value for key, value in said if key.startswith(METADATA + "db_")
    }


@pytest.fixture
def app(no_authorities: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "test")
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    made = App(provider, spans, InMemorySpanExporter())
    yield made
    for pipeline in made.pipelines:
        pipeline.close()
    made.engine.dispose()
    for client in made.clients:
        client.shutdown()
    LangfuseResourceManager._instances.clear()
    provider.shutdown()
    assert not len(shared)


@pytest.fixture
def langfuse(app: App) -> Any:
    """A client on the application's provider, with the pipeline beside it."""
    app.observe()
    return app.langfuse()

"""An application that uses Langfuse's own client and a real database, and what Langfuse got."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any

from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from otel_dbevents import Config, Pipeline
from tests.langfuse.server import LangfuseServer

IS_5 = int(version("langfuse").split(".")[0]) >= 5
_OURS = ("otel_dbevents", "opentelemetry")


class Application(ExitStack):
    """Has a provider of its own, whose spans stay here; closes all that it made."""

    def __init__(self, server: LangfuseServer) -> None:
        super().__init__()
        self.server = server
        self.kept = InMemorySpanExporter()
        self.provider = self.new_provider()
        self.engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        self.callback(self.engine.dispose)
        self.clients: list[Any] = []
        self.pipelines: list[Pipeline] = []
        self.callback(LangfuseResourceManager._instances.clear)
        self.callback(self._end_clients)

    def new_provider(self, **options: Any) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False, **options)
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.callback(provider.shutdown)
        return provider

    def client(self, server: LangfuseServer | None = None, **options: Any) -> Any:
        server = server or self.server
        server.needs_version = IS_5
        given = server.arguments | {"tracer_provider": self.provider} | options
        self.clients.append(Langfuse(**given))
        return self.clients[-1]

    def observe(self, **settings: Any) -> Pipeline:
        """Have the database observed by a pipeline on the application's provider."""
        pipeline = Pipeline(tracer_provider=self.provider, config=Config(**settings))
        self.callback(pipeline.close)
        pipeline.attach(self.engine)
        self.pipelines.append(pipeline)
        return pipeline

    def query(self, number: int = 1) -> None:
        with self.engine.connect() as connection:
            for _ in range(number):
                assert connection.execute(text("SELECT 1 AS one")).scalar() == 1

    async def query_async(self, number: int = 1) -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        for pipeline in self.pipelines:
            pipeline.attach(engine)
        async with engine.connect() as connection:
            for _ in range(number):
                assert (await connection.execute(text("SELECT 1 AS one"))).scalar() == 1
        await engine.dispose()

    def flush(self) -> None:
        """Have all sent that is there, as an application does it: by the clients alone."""
        for client in self.clients:
            client.flush()

    def counts(self, server: LangfuseServer | None = None) -> dict[str, int | None]:
        """Return what Langfuse shows: each observation's name, and how many queries it says."""
        self.flush()
        return {
            each.name: None if count is None else int(count)
            for each in (server or self.server).observations
            for count in [each.metadata.get("db_query_count")]
        }

    def kept_names(self) -> list[str]:
        """Return the names of all spans on the providers, Langfuse's or not."""
        for pipeline in self.pipelines:
            assert pipeline.flush()
        return sorted(span.name for span in self.kept.get_finished_spans())

    def _end_clients(self) -> None:
        for client in self.clients:
            client.shutdown()


@contextmanager
def nothing_said(caplog: Any) -> Iterator[None]:
    """Fail where we, or the SDK because of us, said anything in the log."""
    with caplog.at_level(logging.WARNING):
        yield
    said = [each.getMessage() for each in caplog.records if each.name.startswith(_OURS)]
    assert said == []

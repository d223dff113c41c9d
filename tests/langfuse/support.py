"""An application with Langfuse's real client, a pipeline of ours, and what the database did."""

from contextlib import ExitStack
from importlib.metadata import version

from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import StaticPool, create_engine

from otel_dbevents import Pipeline, ways
from otel_dbevents.config import Config
from otel_dbevents.events import LlmContext, TraceParent
from tests.bridge import support as made

IS_5 = int(version("langfuse").split(".")[0]) >= 5
LLM = LlmContext(b"\x01" * 8, "chat", environment="dev")
SLOW = 600 * made.MS


class Application(ExitStack):
    """Closes what it opened. Events are published as the sources would."""

    def __init__(self, server):
        super().__init__()
        for taken in ways._taken.values():  # by an earlier client that is not collected yet
            taken.clear()
        self.server = server
        server.needs_version = IS_5
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.callback(self.provider.shutdown)
        self.callback(LangfuseResourceManager.reset)

    def client(self, **options):
        """Make Langfuse's client, on the application's provider."""
        given = {"tracer_provider": self.provider, "environment": "dev", **options}
        return Langfuse(**self.server.arguments, **given)

    def pipeline(self, **settings):
        """Make a pipeline; its spans are the provider's."""
        given = {"langfuse": "slow_and_errors", **settings}
        pipeline = Pipeline(tracer_provider=self.provider, config=Config(**given))
        self.callback(pipeline.close)
        self.bus = pipeline.bus
        return pipeline

    def engine(self, pipeline, url="sqlite://"):
        """Make an engine that the pipeline observes."""
        engine = create_engine(url, poolclass=StaticPool)
        self.callback(engine.dispose)
        pipeline.attach(engine)
        return engine

    def happen(self, make=made.executed, **changed):
        """Have something happen to the database, under the span that is current."""
        given = {"llm": LLM, "parent": parent(), **changed}
        event = make(**given)
        self.bus.publish(event, get_current())
        return event

    def flush(self):
        """Have all that is there sent."""
        assert self.provider.force_flush()


def parent():
    """The current span, as an event names it."""
    here = trace.get_current_span().get_span_context()
    return TraceParent(here.trace_id.to_bytes(16), here.span_id.to_bytes(8), int(here.trace_flags))

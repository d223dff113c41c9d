"""One run of all scenes with a collector, and one with a Langfuse, looked at from all sides."""

from collections.abc import Iterator

import pytest

from tests.demo.receiver import Receiver, receiving
from tests.demo.running import Document, demo, document, otlp
from tests.langfuse.server import LangfuseServer, langfuse_server


@pytest.fixture(scope="session")
def collected() -> Iterator[tuple[Document, Receiver]]:
    """What the run told, and what the collector was sent."""
    with receiving() as collector:
        yield Document(document(demo("--json", variables=otlp(collector.endpoint)))), collector


@pytest.fixture(scope="session")
def told(collected: tuple[Document, Receiver]) -> Document:
    return collected[0]


@pytest.fixture(scope="session")
def sent() -> Iterator[tuple[Document, LangfuseServer]]:
    """What another run told, with keys for a Langfuse, and what that was sent."""
    with langfuse_server() as server:
        yield Document(document(demo("--json", variables=server.variables))), server

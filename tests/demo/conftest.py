"""One run of all scenes with a collector beside it, looked at from different sides."""

from collections.abc import Iterator

import pytest

from tests.demo.receiver import Receiver, receiving
from tests.demo.running import Document, demo, document, otlp


@pytest.fixture(scope="session")
def collected() -> Iterator[tuple[Document, Receiver]]:
    """What the run told, and what the collector was sent."""
    with receiving() as collector:
        yield Document(document(demo("--json", variables=otlp(collector.endpoint)))), collector


@pytest.fixture(scope="session")
def told(collected: tuple[Document, Receiver]) -> Document:
    return collected[0]

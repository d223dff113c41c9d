"""The fixtures of what talks to Langfuse."""

from collections.abc import Iterator

import pytest

from tests.langfuse.server import LangfuseServer, langfuse_server


@pytest.fixture
def langfuse() -> Iterator[LangfuseServer]:
    """Run a server that takes what Langfuse takes, for one test."""
    with langfuse_server() as server:
        yield server

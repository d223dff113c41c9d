"""The fixtures of what talks to Langfuse."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.langfuse.server import LangfuseServer, langfuse_server


@pytest.fixture(scope="session")
def _nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture
def no_authorities(_nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Langfuse's client read no certificates: it reads all there are, twice, when made.

    That takes 0.1 s each time, and no server of ours has one.
    """
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(_nothing))


@pytest.fixture
def langfuse(no_authorities: None) -> Iterator[LangfuseServer]:
    """Run a server that takes what Langfuse takes, for one test."""
    with langfuse_server() as server:
        yield server

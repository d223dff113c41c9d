"""Each way to a database in turn, and the server behind it."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from otel_dbevents.health import desk
from otel_dbevents.health.schedule import NAME
from tests.health.targets import KINDS, Kind
from tests.services.process import wait_until


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each way in turn."""
    return KINDS[request.param]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a check take its time: a database is not sick because this machine is slow."""
    for name in ("TIMEOUT", "DEGRADED", "UNHEALTHY"):
        monkeypatch.setenv(f"OTEL_DBEVENTS_HEALTH_{name}_MS", "60000")
    desk._own.cache_clear()
    yield
    desk._own.cache_clear()


@pytest.fixture
def no_schedule() -> None:
    """Wait until those of other tests are gone: who closes one does not wait for long."""
    wait_until(lambda: NAME not in {thread.name for thread in threading.enumerate()})


@pytest.fixture
def server(kind: Kind, request: pytest.FixtureRequest) -> Any:
    """The server behind it."""
    return request.getfixturevalue(kind.server)

"""What every test gets: real services, and no error of ours swallowed in silence."""

import asyncio
import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.pipeline import one
from otel_dbevents.pipeline.wiring import Pipeline
from otel_dbevents.sources import engine as engines
from otel_dbevents.sources.guarding import guard
from tests import canaries
from tests.swallowed import collecting

pytest_plugins = [
    "tests.beside",
    "tests.services.plugin",
    "tests.sources.engines",
    "tests.langfuse.plugin",
]

# No test measures time, and a busy machine is no failure; `make fuzz` looks longer.
usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("usual", usual)
settings.register_profile("long", usual, max_examples=5_000)
settings.load_profile("usual")

# Nor is one on which two seconds are too short, for which an application would wait at most.
for flushing in (MemoryBus.flush, Pipeline.flush, one.flush):
    flushing.__defaults__ = (60.0,)

MEASURED = ("check/", "demo/", "sidecar/", "test_auto.py", "test_cli.py", "test_shipping.py")
"""Where processes are what is tested: theirs is measured too, which takes half as long again."""
_MEASURING = "COVERAGE_PROCESS_CONFIG"
_measuring: list[str] = []

# Else pytest-asyncio's first look makes a loop that nobody closes, and whichever test collects
# garbage next is told of it.
asyncio.set_event_loop(None)


def pytest_collection_finish() -> None:
    """Leave what is there by now out of the garbage collection: thousands of tests, all packages.

    Many tests collect to see that something is gone, and looked through all of that each time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have processes that this test starts measured, or not, if any are."""
    if how := os.environ.pop(_MEASURING, None):
        _measuring[:] = [how]
    if _measuring and item.nodeid.removeprefix("tests/").startswith(MEASURED):
        os.environ[_MEASURING] = _measuring[0]


@pytest.fixture(autouse=True)
def nothing_swallowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which an error was swallowed, though the application did not see it.

    One that wants that says so (``@pytest.mark.swallows``), and fails when none was; one whose
    cases do not all swallow says that too (``sometimes=True``).
    """
    with collecting() as collector:
        yield
    wanted = request.node.get_closest_marker("swallows")
    if wanted is not None and not collector.found and not wanted.kwargs.get("sometimes"):
        raise AssertionError("no error was swallowed: take the mark `swallows` away")
    if collector.found and wanted is None:
        said = "\n".join(map(str, collector.found[:3]))
        raise AssertionError(f"{len(collector.found)} errors were swallowed:\n{said}")


@pytest.fixture(autouse=True)
def nothing_stays_attached() -> Iterator[None]:
    """Fail a test that goes on listening, and listen no more: the next ones would hear nothing.

    An engine is under one source's watch, and a test that failed half-way leaves its own attached.
    """
    before = engines._sources
    yield
    left = [source for source in engines._sources if source not in before]
    for source in left:
        source.detach()
    assert not left, f"{len(left)} sources were left attached"


@pytest.fixture(autouse=True)
def errors_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the sources' errors anew: a process has one count, and each test is to see its own."""
    monkeypatch.setattr(guard, "errors", 0)


@pytest.fixture(scope="session", autouse=True)
def taps() -> Iterator[None]:
    """Tap what leaves, in every test (`tests.canaries`)."""
    with canaries.tapped():
        yield


@pytest.fixture(autouse=True)
def no_secret_leaves(taps: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which a canary left in an event, in telemetry, in our log or on a terminal.

    One that has a driver's message told, as it may be asked for, says so (``@pytest.mark.shows``).
    """
    with canaries.watching() as tap:
        yield
        found = tap.found()
    if found and request.node.get_closest_marker("shows") is None:
        raise AssertionError("a secret left:\n" + "\n".join(found[:10]))

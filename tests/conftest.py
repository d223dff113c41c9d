"""What every test gets: real services, and no error of ours swallowed in silence."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.swallowed import collecting

pytest_plugins = ["tests.services.plugin", "tests.sources.engines"]

# No test measures time; `make fuzz` looks longer.
settings.register_profile("usual", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("usual")

# Else pytest-asyncio's first look makes a loop that nobody closes, and whichever test collects
# garbage next is told of it.
asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def nothing_swallowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which an error was swallowed, though the application did not see it.

    One that wants that says so (``@pytest.mark.swallows``), and fails when none was.
    """
    with collecting() as collector:
        yield
    wanted = request.node.get_closest_marker("swallows") is not None
    if wanted and not collector.found:
        raise AssertionError("no error was swallowed: take the mark `swallows` away")
    if collector.found and not wanted:
        said = "\n".join(map(str, collector.found[:3]))
        raise AssertionError(f"{len(collector.found)} errors were swallowed:\n{said}")

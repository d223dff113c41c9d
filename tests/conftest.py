"""What every test gets: real services, and no error of ours swallowed in silence."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings

from otel_dbevents.sources.watch import guard

pytest_plugins = ["tests.services.plugin", "tests.sources.engines"]

# No test measures time; `make fuzz` looks longer.
settings.register_profile("usual", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("usual")

# Else pytest-asyncio's first look makes a loop that nobody closes, and whichever test collects
# garbage next is told of it.
asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def nothing_swallowed() -> Iterator[None]:
    """Fail a test in which our own code raised, though the application did not see it."""
    before = guard.errors
    yield
    if guard.errors != before:
        raise AssertionError(f"an error of ours was swallowed: {guard.last}")

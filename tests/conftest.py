"""What every test gets: real services, and no error of ours swallowed in silence."""

from collections.abc import Iterator

import pytest

from otel_dbevents.sources.watch import guard

pytest_plugins = ["tests.services.plugin", "tests.sources.engines"]


@pytest.fixture(autouse=True)
def nothing_swallowed() -> Iterator[None]:
    """Fail a test in which our own code raised, though the application did not see it."""
    before = guard.errors
    yield
    if guard.errors != before:
        raise AssertionError(f"an error of ours was swallowed: {guard.last}")

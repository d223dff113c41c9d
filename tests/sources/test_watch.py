"""The guard: what goes wrong in our own code is counted, and nothing can make it wait."""

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from otel_dbevents.sources.watch import Guard


@pytest.fixture
def eager_collector() -> Iterator[None]:
    """The garbage collector runs at every chance."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.swallows
def test_the_garbage_collector_may_come_in_while_an_error_is_noted(eager_collector: None) -> None:
    """As when it finds a result that nobody closed, and that result's last event fails too."""
    guard, noted = Guard(), threading.Event()

    def collected(_phase: str, _info: Any) -> None:
        if threading.current_thread() is thread:
            guard.caught(ValueError("another"))

    def note() -> None:
        try:
            raise ValueError("one")
        except ValueError as error:
            guard.caught(error)
        noted.set()

    thread = threading.Thread(target=note, daemon=True)
    gc.callbacks.append(collected)
    try:
        thread.start()
        assert noted.wait(30), "it waits for itself"
    finally:
        gc.callbacks.remove(collected)
    thread.join()
    assert guard.errors > 1

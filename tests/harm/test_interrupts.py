"""A signal that arrives while we are at work is the application's, whatever its handler does."""

import json

import pytest

from tests.harm.running import run

FEWEST_LINES, FEWEST_FLUSHING = 400, 100
"""So many lines of ours there are at the least in what an application does, and in a flush."""


@pytest.mark.parametrize("what", ["limit", "query"])
def test_a_signal_at_any_line_of_ours_does_to_the_application_what_it_would_without_us(
    what: str,
) -> None:
    told = json.loads(run("tests.harm.interrupting", what))
    assert told["wrong"] == []
    assert (told["lost"], told["told"]) == ({}, True), "it is no error of ours"
    assert told["lines"] >= FEWEST_LINES


def test_a_signals_handler_may_flush_whatever_flush_it_interrupts() -> None:
    """As one for SIGTERM does: it waits for nothing that the thread holds that it runs on."""
    told = json.loads(run("tests.harm.flushing"))
    assert told["wrong"] == []
    assert told["lines"] >= FEWEST_FLUSHING

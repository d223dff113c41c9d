"""A signal that arrives while we are at work is the application's, whatever its handler does."""

import json

import pytest

from tests.harm.running import run

FEWEST_LINES = 400
"""So many lines of ours there are at the least in what the application goes through."""


@pytest.mark.parametrize("what", ["limit", "query"])
def test_a_signal_at_any_line_of_ours_does_to_the_application_what_it_would_without_us(
    what: str,
) -> None:
    told = json.loads(run("tests.harm.interrupting", what))
    assert told["wrong"] == []
    assert (told["lost"], told["told"]) == ({}, True), "it is no error of ours"
    assert told["lines"] >= FEWEST_LINES

"""Nothing of ours is in the way where Python takes apart what it is made of, or never made it."""

import subprocess
import sys

import pytest

from otel_dbevents.sources.rows import CountingFetch, CountingStream
from tests.harm.running import ROOT, environment


def test_an_interpreter_that_ends_finds_nothing_of_ours_in_its_way() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.harm.taken_apart"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    assert "otel_dbevents" not in ended.stderr


@pytest.mark.parametrize("kind", [CountingFetch, CountingStream])
def test_a_reading_that_was_interrupted_before_it_was_set_up_goes_in_silence(kind, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    kind.__new__(kind)
    assert not said

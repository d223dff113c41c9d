"""The short form of `python -m tests.sidecar.soak`: each of its faults once, at a low rate."""

from pathlib import Path

import pytest

from tests.sidecar.soak import soak


@pytest.mark.newest
@pytest.mark.swallows
def test_while_all_sides_fail_in_turn_every_event_is_delivered_or_counted(tmp_path: Path) -> None:
    report = soak(tmp_path, seconds=12, rate=300, faults=4)
    assert report["made"] > 1_000
    assert len(set(report["faults"])) == 4
    assert report["unaccounted"] == 0, report
    assert not report["lost"].keys() - {"gap"}, report  # what Redis had not on its disk yet
    assert report["delivered"] > report["made"] * 0.5, report

"""Many threads at the same place at once: the numbers are exact, with a GIL and without."""

import json

import pytest

from tests.harm.at_once import SCENES
from tests.harm.running import run


@pytest.fixture(scope="module")
def wrong() -> dict[str, str]:
    """What was wrong in each scene, all of which one process plays at full speed."""
    return dict(json.loads(line) for line in run("tests.harm.at_once").splitlines())


@pytest.mark.parametrize("scene", [scene.__name__ for scene in SCENES])
def test_what_threads_do_at_once_is_told_exactly(wrong: dict[str, str], scene: str) -> None:
    assert wrong[scene] == ""

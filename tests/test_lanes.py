"""What `make test` runs beside each other: all of it is told, in order, and none stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.process import wait_until
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

MAKEFILE = """
fine:
	@echo fine begins; sleep 0.3; echo "=== 7 passed in 0.30s ==="
wrong:
	@echo wrong begins; exit 3
after:
	@echo after begins
slow:
	@echo $$$$ >slow.pid; exec sleep 60
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    return tmp_path


def begin(directory: Path, *lanes: str) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"]}
    command = [sys.executable, str(REPOSITORY / ".ci/lanes.py"), *lanes]
    return subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    )


def told(directory: Path, *lanes: str) -> tuple[int, list[str]]:
    """Return the status, and what was said but for make's own words and how long it took."""
    running = begin(directory, *lanes)
    said, _ = running.communicate(timeout=30)
    lines = [line for line in said.splitlines() if not line.startswith("make")]
    return running.returncode, [line.partition(", ")[0] for line in lines]


def is_there(directory: Path) -> bool:
    pid = directory / "slow.pid"
    number = pid.read_text().strip() if pid.exists() else ""
    return bool(number) and Path("/proc", number).exists()


def test_each_lanes_words_are_whole_and_in_order_and_counted_at_the_end(directory: Path) -> None:
    running = begin(directory, "fine after", "fine")
    said = running.communicate(timeout=30)[0].splitlines()
    assert running.returncode == 0
    assert said[:5] == [
        "fine begins", "=== 7 passed in 0.30s ===", "after begins",
        "fine begins", "=== 7 passed in 0.30s ===",
    ]  # fmt: skip
    first, second, third = said[5:]
    for line in (first, third):
        assert line.startswith("fine: well, ")
        assert line.endswith(" s, 7 passed in 0.30s")
    assert second.startswith("after: well, ")


def test_one_that_fails_is_told_and_the_other_lanes_go_on(directory: Path) -> None:
    status, said = told(directory, "fine after", "wrong after")
    assert status == 1
    assert said[-4:] == ["fine: well", "after: well", "wrong: FAILED (2)", "after: not begun"]
    assert said.count("after begins") == 1


def test_one_that_all_depend_on_ends_the_others_when_it_fails(directory: Path) -> None:
    status, said = told(directory, "wrong!", "slow after")
    assert status == 1
    assert "wrong: FAILED (2)" in said
    assert "after begins" not in said
    assert not is_there(directory)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_tells_what_there_is_and_leaves_no_process(
    directory: Path, by: signal.Signals
) -> None:
    running = begin(directory, "slow after", "fine")
    wait_until(lambda: is_there(directory))
    running.send_signal(by)
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "slow: FAILED" in said
    assert "after begins" not in said
    assert not is_there(directory)
